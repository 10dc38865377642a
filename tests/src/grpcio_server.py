"""An OTLP receiver over gRPC on the C core (grpcio), which answers as it is told: one port for each argument.

An argument is NAME,COMPRESSION,CODE,DETAILS,AGE: COMPRESSION is none, gzip or deflate; CODE the name of a status;
DETAILS is 1 for a google.rpc.Status with a RetryInfo of one second; AGE is the age in milliseconds at which connections are
ended, 0 for none. Prints `port NAME PORT` for each, and
`asked NAME METHOD SHA1` for each request.
"""

import hashlib
import sys
import threading
from concurrent import futures

import grpc

TURN = threading.Lock()

COMPRESSIONS = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}
# A partial success without rejected items and with a message that is worth compressing.
REMARK = b"by the way, " * 20
INNER = b"\x12" + bytes([len(REMARK) & 0x7F | 0x80, len(REMARK) >> 7]) + REMARK
ANSWER = b"\x0a" + bytes([len(INNER) & 0x7F | 0x80, len(INNER) >> 7]) + INNER


def field(number, value):
    return bytes([number << 3 | 2, len(value)]) + value


RETRY_INFO = field(1, b"type.googleapis.com/google.rpc.RetryInfo") + field(2, field(1, b"\x08\x01"))


def tell(line):
    """Writes a line as a whole."""
    with TURN:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class Handler(grpc.GenericRpcHandler):
    def __init__(self, name, code, details):
        self.name = name
        self.code = code
        self.details = details

    def service(self, details):
        method = details.method

        def answer(request, context):
            digest = hashlib.sha1(request).hexdigest()
            # One write: several threads print, and print() writes each argument by itself.
            tell(f"asked {self.name} {method} {digest}")
            if self.code is not grpc.StatusCode.OK:
                if self.details:
                    status = bytes([8, self.code.value[0]]) + field(3, RETRY_INFO)
                    context.set_trailing_metadata((("grpc-status-details-bin", status),))
                context.abort(self.code, "as it was told")
            return ANSWER

        return grpc.unary_unary_rpc_method_handler(answer)


servers = []
for argument in sys.argv[1:]:
    name, compression, code, details, age = argument.split(",")
    ages = ("grpc.max_connection_age_ms", int(age)), ("grpc.max_connection_age_grace_ms", 1000)
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=1),
        compression=COMPRESSIONS[compression],
        options=ages if int(age) else (),
    )
    handler = Handler(name, grpc.StatusCode[code], details == "1")
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    servers.append(server)
    tell(f"port {name} {port}")
sys.stdin.read()
