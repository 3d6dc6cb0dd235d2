"""Files of Hugging Face's repositories."""

from pathlib import Path

_REMEDY = "Check the name and the network and try again, or download the file by another way and give its path"


def fetch(repository: str, filename: str) -> Path:
    """Returns a repository's file on this machine; it is fetched if need be, with a progress bar.

    A server that sends nothing is given up after some tries, each of `HF_HUB_DOWNLOAD_TIMEOUT` seconds.

    Args:
      repository: its id, such as `"timm/mobilenetv2_100.ra_in1k"`.
      filename: such as `"config.json"`.

    Raises:
      FileNotFoundError: the repository has no such file.
      OSError: it cannot be fetched; the message says what to do.
    """
    # It takes a third of a second to import.
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(repository, filename))
    # A subclass of the next, for a file that is not on this machine while the network is away.
    except LocalEntryNotFoundError as error:
        raise _failure(repository, filename, error) from error
    except EntryNotFoundError as error:
        raise FileNotFoundError(f"{repository} has no {filename}") from error
    # The library lets through the errors of those that it is built on, and they are others from version to version:
    # of requests, httpx, hf_xet. Whichever it is, the file has not come.
    except Exception as error:
        raise _failure(repository, filename, error) from error


def _failure(repository: str, filename: str, error: Exception) -> OSError:
    # Some have no text.
    reason = str(error) or type(error).__name__
    return OSError(f"{filename} of {repository} cannot be fetched: {reason}\n{_REMEDY}")
