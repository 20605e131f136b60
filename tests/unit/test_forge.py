"""The one comment of a pull request, on what stands for GitHub and GitLab."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hoster.errors import ConfigurationError, ToolError
from hoster.project.forge import MARK, TOKEN, Discussion

SECRET = "token-of-the-test"
PAGE = 100


class PretendedForge(ThreadingHTTPServer):
    """Stands for GitHub and GitLab: keeps comments, answers in pages, knows one token.

    ``asked`` are method and path of all that was asked; ``status`` is answered instead where set.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.comments: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str]] = []
        self.status = 0

    def add(self, body: str) -> None:
        self.comments.append({"id": len(self.comments) + 1, "body": body})


class _Answers(BaseHTTPRequestHandler):
    server: PretendedForge

    def do_GET(self) -> None:
        number = int((re.search(r"[?&]page=(\d+)", self.path) or ["", "1"])[1])
        first = (number - 1) * PAGE
        more = len(self.server.comments) > first + PAGE
        url = f"{self.server.url}{self.path.partition('?')[0]}?per_page={PAGE}&page={number + 1}"
        self._answer(
            self.server.comments[first : first + PAGE],
            {"Link": f'<{url}>; rel="next"'} if more else {},
        )

    def do_POST(self) -> None:
        self.server.add(self._body())
        self._answer({})

    def do_PATCH(self) -> None:
        self.server.comments[int(self.path.rpartition("/")[2]) - 1]["body"] = self._body()
        self._answer({})

    do_PUT = do_PATCH  # noqa: N815 - http.server's name

    def _body(self) -> str:
        length = int(self.headers["Content-Length"])
        return str(json.loads(self.rfile.read(length))["body"])

    def _answer(self, data: object, headers: dict[str, str] | None = None) -> None:
        self.server.asked.append((self.command, self.path))
        known = (f"Bearer {SECRET}", SECRET)
        given = self.headers["Authorization"] or self.headers["PRIVATE-TOKEN"]
        self.send_response(self.server.status or (200 if given in known else 401))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(data).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def forge() -> Iterator[PretendedForge]:
    with PretendedForge() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(params=["GitHub", "GitLab"])
def environment(request: pytest.FixtureRequest, forge: PretendedForge) -> dict[str, str]:
    """What a job of either is told."""
    if request.param == "GitHub":
        return {
            TOKEN: SECRET,
            "GITHUB_API_URL": forge.url,
            "GITHUB_REPOSITORY": "hoster/company",
            "GITHUB_REF": "refs/pull/12/merge",
        }
    return {
        TOKEN: SECRET,
        "CI_API_V4_URL": forge.url,
        "CI_PROJECT_ID": "7",
        "CI_MERGE_REQUEST_IID": "12",
    }


@pytest.mark.parametrize("others", [0, 1, 99, 100, 250])
def test_a_pull_request_has_one_comment_that_is_updated(
    environment: dict[str, str], forge: PretendedForge, others: int
) -> None:
    for number in range(others):
        forge.add(f"Comment {number} of somebody, who mentions {MARK}")
    discussion = Discussion.of(environment)

    assert discussion.say("first")
    assert discussion.say("second")
    assert not discussion.say("second")

    assert others + 1 == len(forge.comments)
    assert f"{MARK}\nsecond" == forge.comments[-1]["body"]


def test_each_forge_is_asked_in_its_own_way(
    environment: dict[str, str], forge: PretendedForge
) -> None:
    Discussion.of(environment).say("first")
    Discussion.of(environment).say("second")

    github = "GITHUB_REF" in environment
    every = (
        "/repos/hoster/company/issues/12/comments"
        if github
        else ("/projects/7/merge_requests/12/notes")
    )
    one = ("PATCH", "/repos/hoster/company/issues/comments/1") if github else ("PUT", f"{every}/1")
    listed = ("GET", f"{every}?per_page=100")
    assert [listed, ("POST", every), listed, one] == forge.asked


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_refusal_is_told_without_the_token(
    environment: dict[str, str], forge: PretendedForge, status: int
) -> None:
    forge.status = status

    with pytest.raises(ToolError, match=str(status)) as refused:
        Discussion.of(environment).say("first")

    assert SECRET not in str(refused.value)
    assert TOKEN in str(refused.value)


def test_a_job_for_no_pull_request_is_told_so(environment: dict[str, str]) -> None:
    number = "GITHUB_REF" if "GITHUB_REF" in environment else "CI_MERGE_REQUEST_IID"
    for without in (TOKEN, number):
        given = {name: value for name, value in environment.items() if name != without}
        with pytest.raises(ConfigurationError, match="no pull request to comment on"):
            Discussion.of(given)
        with pytest.raises(ConfigurationError, match="no pull request to comment on"):
            Discussion.of(given | {"GITHUB_REF": "refs/heads/main"})
