"""Files of Hugging Face's repositories."""

from pathlib import Path


def fetch(repository: str, filename: str) -> Path:
    """Returns a repository's file on this machine; it is fetched if need be, with a progress bar.

    Args:
      repository: its id, such as `"timm/mobilenetv2_100.ra_in1k"`.
      filename: such as `"config.json"`.

    Raises:
      FileNotFoundError: the repository has no such file.
      OSError: it cannot be fetched.
    """
    # It takes a third of a second to import.
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(repository, filename))
    except LocalEntryNotFoundError as error:
        raise OSError(f"{filename} of {repository} cannot be fetched: {error}") from error
    except EntryNotFoundError as error:
        raise FileNotFoundError(f"{repository} has no {filename}") from error
    except HfHubHTTPError as error:
        raise OSError(f"{filename} of {repository} cannot be fetched: {error}") from error
