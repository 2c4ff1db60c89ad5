"""Serve this folder to this computer only, isolated so that the engine may use threads."""

from __future__ import annotations

import argparse
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    # the page's own policy does not reach its worker; this one does
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; "
    "worker-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:",
    "Cache-Control": "no-cache",
}


class Handler(SimpleHTTPRequestHandler):
    # some systems name other types for these, and browsers then refuse the modules
    extensions_map = {".js": "text/javascript", ".mjs": "text/javascript"}  # noqa: RUF012 - theirs

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int, nargs="?", default=8000)
    port, handler = parser.parse_args().port, partial(Handler, directory=Path(__file__).parent)
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        parser.error(f"port {port} cannot be used ({error}): name another one")
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
