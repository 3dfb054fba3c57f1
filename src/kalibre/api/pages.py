"""The documentation page: the OpenAPI description as HTML, without a script or anything from the network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid var(--line); padding: .5rem 0 1rem; }
h2 { font: 600 1.05rem ui-monospace, monospace; } h2 b { display: inline-block; min-width: 4rem; }
table { border-collapse: collapse; width: 100%; } td { padding: .15rem .8rem .15rem 0; vertical-align: top; }
td:first-child, code, pre { font-family: ui-monospace, monospace; font-size: .9rem; }
pre { background: var(--soft); padding: .6rem; overflow-x: auto; border-radius: 4px; }
"""


def documentation_page(openapi: Mapping[str, Any], *, address: str) -> str:
    """Return the page for an OpenAPI description.

    Parameters
    ----------
    address
        Host and port that the examples call.

    Examples
    --------
    >>> page = documentation_page(
    ...     {"info": {"title": "T", "version": "1"}, "paths": {"/x": {"get": {"summary": "S"}}}}, address="trader:80"
    ... )
    >>> "<b>GET</b> /x" in page, "trader:80/x" in page, "://" in page
    (True, True, False)
    """
    info = openapi["info"]
    about = "".join(f"<p>{_prose(part)}</p>" for part in info.get("description", "").split("\n\n") if part)
    schemas = openapi.get("components", {}).get("schemas", {})
    routes = "".join(
        _route(method, path, route, schemas, address)
        for path, methods in sorted(openapi["paths"].items())
        for method, route in methods.items()
    )
    forms = "".join(
        f'<section id="{escape(name)}"><h2>{escape(name)}</h2><p>{_prose(schema.get("description", ""))}</p>'
        f"{_fields(schema)}</section>"
        for name, schema in sorted(schemas.items())
    )
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{title}</h1>{about}"
        f'<p>For machines: <a href="openapi.json">openapi.json</a></p>{routes}<h1>Forms</h1>{forms}</body></html>'
    )


def _route(method: str, path: str, route: Mapping[str, Any], schemas: Mapping[str, Any], address: str) -> str:
    text = route.get("description") or route.get("summary", "")
    rows = [
        (f"{item['name']} ({item['in']})", _kind(item.get("schema", {})), item.get("description", ""))
        for item in route.get("parameters", ())
    ]
    body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body is not None:
        rows.append(("body", _kind(body), ""))
    answers = [
        (status, " ".join(sorted(_shown(content))), content.get("description", ""))
        for status, content in route.get("responses", {}).items()
    ]
    return (
        f"<section><h2><b>{escape(method.upper())}</b> {escape(path)}</h2><p>{_prose(text)}</p>{_table(rows)}"
        f"{_table(answers)}<pre>{escape(_example(method, path, body, schemas, address))}</pre></section>"
    )


def _example(method: str, path: str, body: Mapping[str, Any] | None, schemas: Mapping[str, Any], address: str) -> str:
    words = ["curl -s"]
    if method != "get":
        words.append(f"-X {method.upper()}")
    if method != "get" or path not in ("/healthz", "/docs"):
        words.append('-H "X-API-Key: $KALIBRE_KEY"')
    if body is not None:
        name = str(body.get("$ref", "")).rpartition("/")[2]
        required = schemas.get(name, {}).get("required", [])
        sample = json.dumps({field: "BTCUSDT" if field == "symbol" else "..." for field in required})
        words.append(f"-H 'Content-Type: application/json' -d '{sample}'")
    return f"{' '.join(words)} {address}{path}"


def _fields(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    return _table(
        [
            (name + ("" if name in required else " (optional)"), _kind(field), field.get("description", ""))
            for name, field in schema.get("properties", {}).items()
        ]
    )


def _shown(response: Mapping[str, Any]) -> Iterator[str]:
    for content in response.get("content", {}).values():
        yield _kind(content.get("schema", {}))


def _kind(schema: Mapping[str, Any]) -> str:
    """Say in a word or two what a schema admits; a form is a link."""
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for joined in ("anyOf", "oneOf", "allOf"):
        if joined in schema:
            return " or ".join(dict.fromkeys(_kind(item) for item in schema[joined]))
    if "enum" in schema:
        return escape(" or ".join(map(str, schema["enum"])))
    if schema.get("type") == "array":
        items = schema.get("items")
        return f"list of {_kind(items)}" if isinstance(items, Mapping) else "list"
    return escape(str(schema.get("type", "any")))


def _table(rows: list[tuple[str, str, str]]) -> str:
    """Write rows of plain text, kind (HTML already) and prose."""
    if not rows:
        return ""
    cells = "".join(f"<tr><td>{escape(a)}</td><td>{b}</td><td>{_prose(c)}</td></tr>" for a, b, c in rows)
    return f"<table>{cells}</table>"


def _prose(text: str) -> str:
    """Escape a text and set what stands between backticks as code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if i % 2 else piece for i, piece in enumerate(pieces))
