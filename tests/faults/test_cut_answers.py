"""An answer that ends in the middle of its head is no answer; the libraries take it for an empty success."""

import socketserver
import threading

import pytest

from coverguard.aws import clients
from coverguard.testing.proxy import Fault, Kind, Proxy

HEAD = b"HTTP/1.1 200 OK\r\nServer: one\r\nDate: today\r\nContent-Length: 2\r\n\r\n"
AFTER_A_LINE = [number + 2 for number in range(len(HEAD) - 4) if HEAD[number : number + 2] == b"\r\n"]


class Service(socketserver.BaseRequestHandler):
    def handle(self):
        while self.request.recv(65_536):
            self.request.sendall(HEAD + b"{}")


@pytest.fixture
def proxy():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Service) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        with Proxy(target=server.server_address[1]) as made:
            yield made
        server.shutdown()
        thread.join()


class Promising(socketserver.BaseRequestHandler):
    """Says that it goes on, and is gone."""

    def handle(self):
        self.server.heads.append(self.request.recv(65_536))
        self.request.sendall(b"HTTP/1.1 100 Continue\r\n")


def test_nothing_is_sent_on_a_promise():
    """A connection that ends in the head of `100 Continue` is read for ever by the library."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Promising) as server:
        server.heads = []
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        s3 = clients.s3(
            endpoint_url=f"http://127.0.0.1:{server.server_address[1]}",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        asking = threading.Thread(target=lambda: put(s3), daemon=True)
        asking.start()
        asking.join(60)
        server.shutdown()
        assert not asking.is_alive()
        assert server.heads
        assert not [head for head in server.heads if b"expect" in head.lower()]


def put(s3):
    with pytest.raises(clients.FOREIGN):
        s3.put_object(Bucket="bucket", Key="key", Body=b"bytes")


@pytest.mark.thorough
@pytest.mark.parametrize("after", AFTER_A_LINE[:-1])
def test_what_was_cut_in_its_head_is_an_error(proxy, after):
    proxy.switch(Fault(kind=Kind.CUT, after=after))
    caller = {
        "endpoint_url": proxy.url,
        "aws_access_key_id": "key",
        "aws_secret_access_key": "secret",
        "region_name": "us-east-1",
    }
    sqs, s3 = clients.sqs(**caller), clients.s3(**caller)
    calls = {
        "send": lambda: sqs.send_message(QueueUrl=f"{proxy.url}/1/queue", MessageBody="one"),
        "receive": lambda: sqs.receive_message(QueueUrl=f"{proxy.url}/1/queue"),
        "list": lambda: s3.list_object_versions(Bucket="bucket"),
        "get": lambda: s3.get_object(Bucket="bucket", Key="key"),
    }
    passed = []
    for name, call in calls.items():
        try:
            passed.append((name, call()))
        except clients.FOREIGN:
            continue
    assert passed == []
    assert proxy.befell[Kind.CUT] >= len(calls)
