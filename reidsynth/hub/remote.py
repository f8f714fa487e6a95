"""One repository on the Hub: visibility, files, commits, and patience for failures that pass."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from reidsynth.errors import UserError
from reidsynth.manifest import MANIFEST_FILE, ManifestInfo, parse_info
from reidsynth.policy import VISIBILITIES, Visibility

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from huggingface_hub import HfApi

    from reidsynth.release import File

Value = TypeVar("Value")

KIND = "dataset"
ATTEMPTS = 6
LONGEST_WAIT = 300.0
_PASSING = (408, 429, 500, 502, 503, 504)
_NAME = re.compile(r"(?:hf:/{1,2}(?:datasets/)?)?(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?")


def repository_name(text: str) -> tuple[str, str | None] | None:
    """Name and revision of a repository: `owner/name`, `owner/name@revision`, `hf://datasets/owner/name`.

    Example:
        >>> repository_name("hf://datasets/lab/tri@v1")
        ('lab/tri', 'v1')
        >>> repository_name("data/a/b") is None
        True
    """
    found = _NAME.fullmatch(text)
    return (found["repo"], found["revision"]) if found else None


def is_repository(path: str | Path) -> bool:
    """Whether a text means a repository: it is spelled like one, and neither it nor its parent is a folder here."""
    text = str(path)
    if text.startswith("hf:/"):
        return True
    return repository_name(text) is not None and not Path(text).exists() and not Path(text).parent.exists()


class Remote:
    """One data set repository, with patience for passing failures.

    Args:
        repository: `owner/name`.
        api: of huggingface_hub; one for the user's own endpoint and token by default.
        attempts: how often a failure that may pass is tried again.

    Raises:
        UserError: for a name that is none, a missing or refused token, a Hub that does not answer.
    """

    def __init__(self, repository: str, api: HfApi | None = None, *, attempts: int = ATTEMPTS) -> None:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # its list of names is not read

        named = repository_name(repository)
        if named is None:
            raise UserError(f"{repository!r} is no repository: write owner/name, for example my-lab/tri-cuhk-pedes")
        self.name, self.revision = named
        try:
            validate_repo_id(self.name)
        except HFValidationError as error:
            raise UserError(f"{repository[:120]!r} is no repository: {str(error).partition(': ')[0]}") from None
        self.api = api or HfApi()
        self.attempts = attempts
        self.lets_in_whoever_asks = False

    def ask(self, function: Callable[..., Value], **arguments: Any) -> Value:  # noqa: ANN401 - the client's own
        """Call the client; wait and repeat where the failure may pass (429, 5xx, a lost connection)."""
        for attempt in range(1, self.attempts + 1):
            try:
                return function(repo_id=self.name, repo_type=KIND, **arguments)
            except Exception as error:
                wait = _wait(error, attempt)
                if wait is None or attempt == self.attempts:
                    raise _explained(error, self.name) from error
                time.sleep(wait)
        raise AssertionError  # the loop returns or raises

    def visibility(self) -> Visibility | None:
        """How visible it is; None where it does not exist (or may not be seen).

        A gate that lets everybody in who asks holds nobody back: such a repository counts as public.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            info = self.ask(self.api.repo_info)
        except UserError as error:
            if isinstance(error.__cause__, RepositoryNotFoundError):
                return None
            raise
        self.lets_in_whoever_asks = not info.private and info.gated == "auto"
        if info.private:
            return "private"
        return "gated" if info.gated == "manual" else "public"

    def create(self) -> None:
        """Make the repository, private."""
        self.ask(self.api.create_repo, private=True, exist_ok=True)

    def guard(self, asked: Visibility) -> None:
        """Make sure that it is not more open than asked.

        Raises:
            UserError: when it is.
        """
        found = self.visibility()
        if found is None:
            raise UserError(f"{self.name} can't be read back after it was made: nothing was sent; try again")
        if VISIBILITIES.index(found) > VISIBILITIES.index(asked):
            how = "gated, and lets in whoever asks," if self.lets_in_whoever_asks else f"{found},"
            raise UserError(
                f"{self.name} is {how} and this push is {asked}: no file was sent; make the repository private in "
                "its settings, choose another one, or ask for --visibility "
                f"{found} if the terms of the data allow it (--dry-run tells)"
            )

    def open(self, asked: Visibility) -> None:
        """Make it as visible as asked, after its last file; read back."""
        if asked == "private" or (self.visibility() == asked and not self.lets_in_whoever_asks):
            return
        self.ask(self.api.update_repo_settings, private=False, gated="manual" if asked == "gated" else False)
        found = self.visibility()
        if found is None or VISIBILITIES.index(found) > VISIBILITIES.index(asked):
            self.ask(self.api.update_repo_settings, private=True)
            raise UserError(f"{self.name} became {found} instead of {asked}, so it was made private again")

    def files(self) -> dict[str, tuple[int, str]]:
        """Path -> size in bytes and checksum (sha256 of large files, git's own of small ones)."""
        from huggingface_hub.hf_api import RepoFile

        entries = self.ask(lambda **names: list(self.api.list_repo_tree(recursive=True, **names)))
        found = [entry for entry in entries if isinstance(entry, RepoFile)]
        return {entry.path: (entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id) for entry in found}

    def info(self) -> ManifestInfo | None:
        """Description of the manifest that it holds; None where it holds none."""
        with tempfile.TemporaryDirectory() as folder:
            path = self._fetched(MANIFEST_FILE, folder)
            return None if path is None else parse_info(path)

    def card(self) -> str:
        """Its card; "" where it has none."""
        with tempfile.TemporaryDirectory() as folder:
            path = self._fetched("README.md", folder)
            return "" if path is None else path.read_text(encoding="utf-8", errors="replace")

    def _fetched(self, file: str, folder: str) -> Path | None:
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            path = self.ask(self.api.hf_hub_download, filename=file, revision=self.revision, local_dir=folder)
        except UserError as error:
            cause = error.__cause__
            if isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError):
                return None  # the local kind means that the Hub did not answer
            raise
        return Path(path)

    def can_forget(self) -> None:
        """Make sure that nothing but the main branch holds earlier contents.

        Raises:
            UserError: when tags or other branches do, which dropping the main branch's history leaves as they are.
        """
        refs = self.ask(self.api.list_repo_refs)
        others = [f"the tag {ref.name!r}" for ref in refs.tags]
        others += [f"the branch {ref.name!r}" for ref in refs.branches if ref.name != "main"]
        if others:
            raise UserError(
                f"{self.name} has {' and '.join(others)} besides its main branch, and what --forget is to drop could "
                "still be downloaded from there: delete them first (`delete_tag` and `delete_branch` of "
                "huggingface_hub.HfApi), then push again"
            )

    def forget(self) -> None:
        """Drop the history: earlier contents can't be downloaded any more."""
        self.ask(self.api.super_squash_history)

    def commit(self, add: Sequence[File], delete: Sequence[str], message: str) -> None:
        """Send files and delete others, in one commit."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        def send(**names: Any) -> None:  # noqa: ANN401 - the client's own
            operations: list[CommitOperationAdd | CommitOperationDelete] = [
                *(CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=file.local) for file in add),
                *(CommitOperationDelete(path_in_repo=path) for path in delete),
            ]
            self.api.create_commit(operations=iter(operations), commit_message=message, **names)

        self.ask(send)


def _wait(error: BaseException, attempt: int) -> float | None:
    """Seconds to wait before the next try; None where trying again is no use."""
    response = _response(error)
    if response is None:
        return min(2.0 ** (attempt - 1), LONGEST_WAIT) if _lost_connection(error) else None
    if response.status_code not in _PASSING:
        return None
    asked = str(response.headers.get("Retry-After", ""))
    return min(float(asked), LONGEST_WAIT) if asked.isdigit() else min(2.0 ** (attempt - 1), LONGEST_WAIT)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _response(error: BaseException) -> Any:  # noqa: ANN401 - a response of the client's HTTP library
    return next((found for e in _chain(error) if (found := getattr(e, "response", None)) is not None), None)


def _lost_connection(error: BaseException) -> bool:
    names = {base.__name__ for e in _chain(error) for base in type(e).__mro__}
    return bool(names & {"TransportError", "ConnectionError", "TimeoutException"})


def _explained(error: Exception, repository: str) -> Exception:
    """The Hub's error as one sentence; errors that are not the Hub's stay as they are."""
    response = _response(error)
    if response is not None:
        status = response.status_code
        if status in (401, 403):
            advice = "log in with `hf auth login` or set HF_TOKEN to a token that may do this"
        elif status == 404:
            advice = "check the name and the revision, and whether your token may see it"
        else:
            advice = "wait and run the same command again, what was sent stays sent"
        return UserError(f"the Hub answered {status} about {repository}: {advice}")
    if _lost_connection(error) or type(error).__name__ in ("LocalEntryNotFoundError", "OfflineModeIsEnabled"):
        return UserError(
            f"the Hub can't be reached about {repository}: check the connection (or HF_ENDPOINT) and run the same "
            "command again, what was sent stays sent"
        )
    return error
