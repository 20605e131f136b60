"""The one comment of a pull request (GitHub) or merge request (GitLab), kept up to date.

Both have the same REST idiom: a list of comments in pages that name the next one in ``Link``
(RFC 8288), POST to add one, PATCH or PUT to edit one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from hoster.errors import ConfigurationError, ToolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MARK = "<!-- hoster review -->"
"""What our comment begins with; nobody sees it, and by it the comment is found again."""
TOKEN = "HOSTER_COMMENT_TOKEN"  # noqa: S105 - the name of the variable
_SECONDS = 20
_PULL_REQUEST = re.compile(r"refs/pull/(\d+)/")


@dataclass(frozen=True)
class Discussion:
    """Where the comments of one change are.

    ``comments`` is the URL of all, ``comment`` of one less its id, ``edit`` the method that
    changes one, ``token`` the header that says who asks.
    """

    comments: str
    comment: str
    edit: str
    token: Mapping[str, str]

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Discussion:
        """Return the discussion of the change that this job of a pipeline is run for.

        Raises:
            ConfigurationError: it is run for none, or has no token.
        """
        token = environment.get(TOKEN, "")
        pull_request = _PULL_REQUEST.match(environment.get("GITHUB_REF", ""))
        if pull_request and token:
            api = f"{environment['GITHUB_API_URL']}/repos/{environment['GITHUB_REPOSITORY']}/issues"
            comments = f"{api}/{pull_request[1]}/comments"
            authorization = {"Authorization": f"Bearer {token}"}
            return cls(comments, f"{api}/comments", "PATCH", authorization)
        if token and (merge_request := environment.get("CI_MERGE_REQUEST_IID")):
            project = f"{environment['CI_API_V4_URL']}/projects/{environment['CI_PROJECT_ID']}"
            notes = f"{project}/merge_requests/{merge_request}/notes"
            return cls(notes, notes, "PUT", {"PRIVATE-TOKEN": token})
        raise ConfigurationError(
            "there is no pull request to comment on: this is no job of GitHub Actions or GitLab CI "
            f"for one, or {TOKEN} is not set",
            remedy="Leave --comment out; the same text is printed.",
        )

    def say(self, text: str) -> bool:
        """Make *text* our comment; return False where it says just that already.

        Raises:
            ToolError: the forge cannot be reached, or refuses.
        """
        body = f"{MARK}\n{text}"
        with requests.Session() as session:
            session.headers.update(self.token)
            # Only what may be asked twice: a comment that was taken and not confirmed is not.
            retry = Retry(total=3, backoff_factor=1, status_forcelist=(429, 502, 503, 504))
            session.mount("https://", HTTPAdapter(max_retries=retry))
            try:
                ours = next((one for one in self._all(session) if _is_ours(one)), None)
                if ours is None:
                    self._ask(session, "POST", self.comments, json={"body": body})
                elif ours["body"].strip() == body.strip():
                    return False
                else:
                    url = f"{self.comment}/{ours['id']}"
                    self._ask(session, self.edit, url, json={"body": body})
            except requests.RequestException as error:
                raise ToolError(
                    f"the comment could not be written: {error}",
                    remedy=f"Look at what {TOKEN} may do: it has to write comments.",
                ) from None
        return True

    def _all(self, session: requests.Session) -> Iterator[dict[str, Any]]:
        url: str | None = f"{self.comments}?per_page=100"
        while url:
            page = self._ask(session, "GET", url)
            yield from page.json()
            url = page.links.get("next", {}).get("url")

    @staticmethod
    def _ask(session: requests.Session, method: str, url: str, **body: Any) -> requests.Response:
        answer = session.request(method, url, timeout=_SECONDS, **body)
        answer.raise_for_status()
        return answer


def _is_ours(comment: dict[str, Any]) -> bool:
    return str(comment.get("body") or "").startswith(MARK)
