"""Downloads files from Hugging Face repositories."""

from pathlib import Path

_REMEDY = (
    "Check the name and the network connection and try again, or download the file by other means and pass its path"
)


def fetch(repository: str, filename: str) -> Path:
    """Returns the local path of a repository's file, which is downloaded if necessary, with a progress bar.

    If a server does not respond, the download fails after several attempts of `HF_HUB_DOWNLOAD_TIMEOUT` seconds each.

    Args:
      repository: repository id, such as `"timm/mobilenetv2_100.ra_in1k"`.
      filename: name of the file, such as `"config.json"`.

    Raises:
      FileNotFoundError: the repository has no such file.
      OSError: the file cannot be downloaded; the message says what to do.
    """
    # Imported here, because it takes a third of a second to import.
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(repository, filename))
    # A subclass of the next exception, raised for a file that is not cached while the network is unavailable.
    except LocalEntryNotFoundError as error:
        raise _failure(repository, filename, error) from error
    except EntryNotFoundError as error:
        raise FileNotFoundError(f"{repository} has no {filename}") from error
    # Errors of the underlying libraries (requests, httpx, hf_xet) are not wrapped and vary between versions. In any
    # case, the download has failed.
    except Exception as error:
        raise _failure(repository, filename, error) from error


def _failure(repository: str, filename: str, error: Exception) -> OSError:
    # Some exceptions have no message.
    reason = str(error) or type(error).__name__
    return OSError(f"{filename} of {repository} cannot be downloaded: {reason}\n{_REMEDY}")
