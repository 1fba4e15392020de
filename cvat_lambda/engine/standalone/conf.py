"""Settings of the standalone engine: the Django settings ``CVAT_LAMBDA_STANDALONE_<NAME>``."""

from __future__ import annotations

from cvat_lambda.conf import TypedSettings


class EngineSettings(TypedSettings):
    """Names, types and defaults. Sizes end in ``_BYTES``, durations in ``_S`` (seconds)."""

    prefix = "CVAT_LAMBDA_STANDALONE_"
    former_prefix = "CVAT_LAMBDA_HOST_"

    # Larger uploads are processed after the response; the client polls their status.
    INLINE_UPLOAD_BYTES: int = 64 * 1024 * 1024
    # Limits of one task's upload: the size of the files, and their size when unpacked.
    MAX_UPLOAD_BYTES: int = 64 * 1024**3
    # Images and videos with more pixels a frame are refused (decompression bombs).
    MAX_IMAGE_PIXELS: int = 512 * 1024 * 1024
    MAX_VIDEO_PIXELS: int = 64 * 1024 * 1024
    # Limit of the ratio of an archive's unpacked size to its size.
    MAX_ARCHIVE_RATIO: int = 200
    # Quota of the tasks and uploads in progress of one owner; 0: no limit.
    USER_QUOTA_BYTES: int = 0
    # Whether the server downloads files that a client names by URL, and from which hosts,
    # *.domains or networks.
    REMOTE_FILES: bool = False
    REMOTE_FILES_ALLOWED_HOSTS: tuple[str, ...] = ()
    REMOTE_FILES_TIMEOUT_S: float = 30.0
    # A folder whose files clients may name in ``server_files``; "": none.
    SHARE_ROOT: str = ""
    # Frames in one chunk of ``?type=chunk``.
    CHUNK_FRAMES: int = 36
    # A background upload without a heartbeat for this long is taken over by another process.
    UPLOAD_STALLED_AFTER_S: float = 120.0
    # Requests that one client may have in progress in one web process; others get status 429.
    MAX_REQUESTS_PER_CLIENT: int = 16
    # How long the key of a login is valid.
    LOGIN_KEY_DAYS: int = 14
    # Limits of failed logins in 15 minutes: per name and address, per address, per name.
    MAX_FAILED_LOGINS: int = 10
    MAX_FAILED_LOGINS_PER_ADDRESS: int = 50
    MAX_FAILED_LOGINS_PER_NAME: int = 200
    # Size of this host's cache of files from the object store. It may be exceeded for a moment
    # by one file, and by a tenth for each further process.
    MEDIA_CACHE_BYTES: int = 10 * 1024**3
    # With less free space the server is not ready and refuses uploads.
    MIN_FREE_DISK_BYTES: int = 256 * 1024 * 1024
    # Bearer token with which Prometheus reads /metrics; "": an administrator's token is needed.
    METRICS_TOKEN: str = ""
    # The address of the reverse proxy whose X-Forwarded-For and -Proto are believed; "": none.
    TRUSTED_PROXY: str = ""


engine_settings = EngineSettings()
