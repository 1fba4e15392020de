"""Networks that more than one function uses: pre-processing, forward pass, post-processing."""
