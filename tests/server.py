import contextlib
import http.server
import threading


@contextlib.contextmanager
def serve(folder):
    """Serve the files of a folder from this machine.

    Yields the address, to which "/" and the name of a file are added, and a list that grows by
    the path of each request.
    """
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            requests.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            thread.join()
