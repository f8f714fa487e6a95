"""An OpenAI-compatible service, with every way in which it can fail sorted into four."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reidsynth.errors import UserError
from reidsynth.steps.captions.ledger import Reply
from reidsynth.steps.captions.pace import retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai import APIStatusError, AsyncOpenAI

_LOOPBACK = ("localhost", "::1")


class Throttled(Exception):  # noqa: N818 - names the thing; it never leaves this package
    """The service asks to wait: `seconds` as it says, None where it does not say."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__("too many requests")
        self.seconds = seconds


class Unavailable(Exception):  # noqa: N818 - names the thing; it never leaves this package
    """The service failed in a way that may pass; the message is a short reason."""


class Declined(Exception):  # noqa: N818 - names the thing; it never leaves this package
    """The service found this very request wrong; the message is its reason."""


class Service:
    """Opens a client; the key comes from the environment, retries are this package's.

    Args:
        base_url: of the service, with its version path; None takes the client's own default.
        key_variable: environment variable that holds the key; a service on this machine does without.
        timeout: seconds for one answer.

    Raises:
        UserError: when the address is no http(s) address, or there is no key.
    """

    def __init__(self, base_url: str | None, key_variable: str, timeout: float) -> None:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        key = os.environ.get(key_variable, "")
        address = base_url or os.environ.get("OPENAI_BASE_URL") or None
        if address is not None and urlsplit(address).scheme not in ("http", "https"):
            raise UserError(f"base_url {address!r} is no address: write http://host:port/v1 or https://host/v1")
        local = address is not None and is_local(address)
        if not key and not local:
            raise UserError(
                f"the environment variable {key_variable} holds no key for the service: set it, or name another one "
                "with --set key_variable=NAME"
            )
        self.client: AsyncOpenAI = AsyncOpenAI(
            api_key=key or "none",
            base_url=address,
            max_retries=0,
            timeout=timeout,
            http_client=DefaultAsyncHttpxClient(trust_env=not local),  # no proxy stands between here and here
        )
        self.host = urlsplit(str(self.client.base_url)).netloc
        self.local = is_local(str(self.client.base_url))

    async def chat(self, body: Mapping[str, Any], key: str) -> dict[str, Any]:
        """Ask once.

        Args:
            body: of the request.
            key: the same for the same question: a service that knows idempotency keys bills it once.

        Returns:
            The response's body.

        Raises:
            UserError: the account has no quota left, the key is not accepted, or the model is not there.
            Throttled: wait.
            Unavailable: try again.
            Declined: this request won't do.
        """
        import openai

        try:
            raw = await self.client.chat.completions.with_raw_response.create(
                **body, extra_headers={"Idempotency-Key": key}
            )
            text = raw.text
            values = json.loads(text() if callable(text) else text)
        except openai.APIStatusError as error:
            raise sorted_error(error, self.host) from error
        except openai.APITimeoutError as error:
            raise Unavailable("no answer in time") from error
        except openai.APIConnectionError as error:
            raise Unavailable(f"no connection ({error.__cause__ or error})") from error
        except (openai.OpenAIError, ValueError, TypeError) as error:
            raise Unavailable(f"answer is no valid JSON ({type(error).__name__})") from error
        if not isinstance(values, dict) or not values.get("choices"):
            raise Unavailable("answer holds no choices")
        return values

    async def close(self) -> None:
        """Close connections."""
        await self.client.close()


def is_local(address: str) -> bool:
    """Whether an address is this machine's: what goes there does not leave it.

    Example:
        >>> is_local("http://127.0.0.1:8000/v1"), is_local("https://example.org/v1"), is_local("http://localhost.example")
        (True, False, False)
    """
    host = urlsplit(address).hostname or ""
    return host in _LOOPBACK or (host.startswith("127.") and host.replace(".", "").isdigit())


def openai_errors() -> tuple[type[Exception], ...]:
    """What the client raises for a service's fault: its own errors, and those of a body that is no JSON."""
    import openai

    return (openai.OpenAIError, ValueError, TypeError)


def sorted_error(error: APIStatusError, host: str) -> Exception:
    """Sort a response with an error status."""
    code, message = str(error.code or ""), _message(error)
    said = f"HTTP {error.status_code}: {message}"
    if code in ("insufficient_quota", "billing_hard_limit_reached") or error.status_code == 402:
        return UserError(
            f"the account at {host} has no quota left ({message}): add credit or raise its limit, then run the same "
            "command again; no answer that is in the ledger is paid for twice"
        )
    if error.status_code == 429:
        return Throttled(retry_after(error.response.headers))
    if error.status_code in (401, 403):
        return UserError(f"{host} does not accept the key ({message}): check the environment variable that holds it")
    if error.status_code == 404:
        return UserError(f"{host} does not know the model or the address ({message}): check --set model and base_url")
    if error.status_code in (408, 409) or error.status_code >= 500:
        return Unavailable(said)
    return Declined(said)


def _message(error: APIStatusError) -> str:
    body = error.body
    told = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(told or error.message).split())[:200]


def read_reply(body: Mapping[str, Any]) -> tuple[Reply, bool]:
    """The reply in a response's body, and whether it was cut off for its length."""
    choice = body["choices"][0]
    message = choice.get("message") or {}
    usage = body.get("usage") or {}
    content = message.get("content")
    if isinstance(content, list):  # some services answer in parts
        content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
    refusal = message.get("refusal")
    if choice.get("finish_reason") == "content_filter":
        refusal = refusal or "stopped by the service's content filter"
    reply = Reply(
        content=content or "",
        refusal=refusal,
        served_by=body.get("model"),
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
    )
    return reply, choice.get("finish_reason") == "length"
