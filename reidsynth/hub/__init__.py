"""Push and pull: the only package that talks to the Hub.

Nothing leaves before the repository has been read back and found as private as asked; a repository that is to be
public is opened only after its last file. Progress is what lies in the repository: a push compares checksums and sends
what is missing, in commits of bounded size, and the description (`manifest.json`) goes last. So an interrupted push is
resumed by running it again, and a table that is made later costs its own files only.
"""

from __future__ import annotations

from reidsynth.hub.pulling import fetch, pull
from reidsynth.hub.pushing import Report, push
from reidsynth.hub.remote import Remote, is_repository, repository_name

__all__ = ["Remote", "Report", "fetch", "is_repository", "pull", "push", "repository_name"]
