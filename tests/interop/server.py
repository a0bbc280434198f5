"""The service test.Echo on grpcio. It rejects calls in every way that grpcio offers.

Prints its port and serves until its input closes. There is no generated code: a message is `{1: text, 2: count}`,
encoded and decoded by hand.
"""

import sys
from concurrent import futures

import grpc

# The accepted token. The test sets it with test.Control/Accept.
good = "at-0"


def text_of(message):
    # Field 1, length-delimited. Texts are shorter than 128 bytes, so the length is one byte.
    return message[2 : 2 + message[1]].decode() if message[:1] == b"\n" else ""


def message_of(text):
    return b"\n" + bytes([len(text)]) + text.encode()


def rejects(metadata, place):
    metadata = dict(metadata)
    return metadata.get("authorization") != f"Bearer {good}" and metadata.get("x-reject") == place


def check(context, place):
    if rejects(context.invocation_metadata(), place):
        context.abort(grpc.StatusCode.UNAUTHENTICATED, f"expired, says the {place}")


def check_all(context):
    check(context, "handler")
    if rejects(context.invocation_metadata(), "headers"):
        context.send_initial_metadata((("x-early", "1"),))
        check(context, "headers")


class Interceptor(grpc.ServerInterceptor):
    def intercept_service(self, continuation, details):
        handler = continuation(details)
        if handler is None or not rejects(details.invocation_metadata, "interceptor"):
            return handler

        def abort(_, context):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "expired, says the interceptor")

        kinds = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        return kinds[handler.request_streaming, handler.response_streaming](abort)


def unary(message, context):
    check_all(context)
    return message


def repeat(message, context):
    check_all(context)
    for number in range(3):
        if number == 2:
            check(context, "message")
        yield message


def join(messages, context):
    check_all(context)
    return message_of(" ".join(text_of(message) for message in messages))


def talk(messages, context):
    check_all(context)
    for message in messages:
        yield message
        check(context, "message")


def accept(message, _):
    global good
    good = text_of(message)
    return message


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), interceptors=[Interceptor()])
    echo = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Repeat": grpc.unary_stream_rpc_method_handler(repeat),
        "Join": grpc.stream_unary_rpc_method_handler(join),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
    }
    control = {"Accept": grpc.unary_unary_rpc_method_handler(accept)}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("test.Echo", echo),
            grpc.method_handlers_generic_handler("test.Control", control),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


main()
