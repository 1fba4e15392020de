// Keeps the progress bars of live requests up to date, and reloads the page when one ends.
"use strict";
for (const box of document.querySelectorAll('.progress[data-live="1"]')) {
  const bar = box.querySelector("progress");
  const words = box.querySelector(".words");
  const look = async () => {
    const answer = await fetch(box.dataset.progress, { headers: { Accept: "application/json" } });
    if (!answer.ok) return; // logged out, or gone: the page stays as it is
    const now = await answer.json();
    bar.max = now.total || 1;
    bar.value = now.done + now.failed + now.skipped;
    const parts = [`${now.done} done`];
    if (now.failed) parts.push(`${now.failed} failed`);
    if (now.skipped) parts.push(`${now.skipped} skipped`);
    let text = `${parts.join(", ")} of ${now.total}`;
    if (now.rate) text += ` · ${now.rate.toFixed(1)} frames/s`;
    if (now.eta_s !== null) text += ` · ${Math.ceil(now.eta_s)} s to go`;
    words.textContent = text;
    if (now.status === "queued" || now.status === "started") setTimeout(look, 1000);
    else location.reload();
  };
  setTimeout(look, 500);
}
