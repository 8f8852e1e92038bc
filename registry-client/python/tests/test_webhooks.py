"""The receiver of webhooks, as a program; the package standardwebhooks is its judge."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest

from modelregistry import Registry
from modelregistry.v1 import webhooks_pb2 as pb

from .conftest import Server

RECEIVER = Path(__file__).parent.parent / "examples" / "webhook_receiver.py"


def test_a_receiver_takes_what_is_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_REGISTRY_WEBHOOK_ALLOW", "127.0.0.0/8")
    server = Server(tmp_path)
    secret = "whsec_" + "MfKQ9r8G" * 4
    command = [sys.executable, str(RECEIVER), "0"]
    environment = os.environ | {"WEBHOOK_SECRET": secret}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True) as receiver:
        assert receiver.stdout
        url = f"http://127.0.0.1:{receiver.stdout.readline().split()[-1]}/"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(urllib.request.Request(url, b"{}", {"webhook-id": "forged"}))
        webhook = pb.Webhook(url=url, types=["model.created"], secret=secret)
        request = pb.CreateWebhookRequest(webhook_id="printer", webhook=webhook)
        with grpc.insecure_channel(server.address) as channel, Registry.connect(server.address) as registry:
            create = channel.unary_unary(
                "/modelregistry.v1.WebhookService/CreateWebhook",
                request_serializer=pb.CreateWebhookRequest.SerializeToString,
                response_deserializer=pb.Webhook.FromString,
            )
            assert create(request).secret == secret
            registry.create_model("fraud")
            assert receiver.stdout.readline().split()[1:] == ["model.created", "namespaces/default/models/fraud"]
        receiver.terminate()
    server.stop()
