"""Reads all that a registry tells, with the limits that a client has by default, and prints it as JSON: python reader.py HOST:PORT

What the registry took from anybody, everybody can read: messages of at most 4 MiB, nested at most 100 deep, that JSON can say.
"""

import sys

import grpc
from google.protobuf.json_format import MessageToJson

from modelregistry.v1 import admin_pb2, admin_pb2_grpc, artifacts_pb2, artifacts_pb2_grpc, events_pb2, events_pb2_grpc
from modelregistry.v1 import models_pb2, models_pb2_grpc, namespaces_pb2, namespaces_pb2_grpc, version_service_pb2, version_service_pb2_grpc


def pages(method, request, field):
    """The items of a list, page after page."""
    request.page_size = 1000
    while True:
        page = method(request)
        MessageToJson(page)
        yield from getattr(page, field)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def main(address):
    channel = grpc.insecure_channel(address)
    namespaces = namespaces_pb2_grpc.NamespaceServiceStub(channel)
    models = models_pb2_grpc.ModelServiceStub(channel)
    versions = version_service_pb2_grpc.VersionServiceStub(channel)
    artifacts = artifacts_pb2_grpc.ArtifactServiceStub(channel)
    admin = admin_pb2_grpc.AdminServiceStub(channel)
    events = events_pb2_grpc.EventServiceStub(channel)
    read = dict.fromkeys(["namespaces", "models", "versions", "artifacts", "events"], 0)

    for namespace in pages(namespaces.ListNamespaces, namespaces_pb2.ListNamespacesRequest(show_deleted=True), "namespaces"):
        read["namespaces"] += 1
        request = models_pb2.ListModelsRequest(parent=namespace.name, show_deleted=True)
        read["models"] += sum(1 for _ in pages(models.ListModels, request, "models"))
        request = version_service_pb2.ListVersionsRequest(parent=f"{namespace.name}/models/-", show_deleted=True)
        for version in pages(versions.ListVersions, request, "versions"):
            read["versions"] += 1
            request = artifacts_pb2.ListArtifactsRequest(parent=version.name)
            read["artifacts"] += sum(1 for _ in pages(artifacts.ListArtifacts, request, "artifacts"))
    for _ in pages(admin.ListUsage, admin_pb2.ListUsageRequest(), "namespaces"):
        pass
    log = list(pages(events.ListEvents, events_pb2.ListEventsRequest(), "events"))
    read["events"] = len(log)

    watched = []
    watch = events.WatchEvents(events_pb2.WatchEventsRequest(after_revision=0))
    while len(watched) < len(log):
        message = next(watch)
        MessageToJson(message)
        watched.extend(message.events.events)
    watch.cancel()
    assert watched == log, "a watch is the log"
    watch = events.WatchEvents(events_pb2.WatchEventsRequest(snapshot=events_pb2.WatchEventsRequest.Snapshot()))
    for message in watch:
        MessageToJson(message)
        if message.WhichOneof("response") == "bookmark":
            break
    watch.cancel()
    print(f"read {read}")


if __name__ == "__main__":
    main(sys.argv[1])
