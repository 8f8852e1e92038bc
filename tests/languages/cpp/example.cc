// A model's life over plain gRPC: example SERVICE_CONFIG HOST:PORT
//
// Amid it the server is to be restarted: it prints `restart` and goes on when a line comes in, as run.sh does it.
// Calls that change something carry a request id, so that the retries of service_config.json do them once. Watches and transfers
// are not in that file: they take as long as they take.

#include <openssl/evp.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <sstream>
#include <thread>

#include <grpcpp/grpcpp.h>

#include "modelregistry/v1/artifacts.grpc.pb.h"
#include "modelregistry/v1/events.grpc.pb.h"
#include "modelregistry/v1/lifecycle.grpc.pb.h"
#include "modelregistry/v1/models.grpc.pb.h"
#include "modelregistry/v1/version_service.grpc.pb.h"

using namespace modelregistry::v1;
using grpc::ClientContext;
using grpc::Status;
using grpc::StatusCode;

constexpr size_t kPiece = 1024 * 1024;

void check(bool holds, const std::string& what) {
  if (!holds) {
    std::cerr << "wrong: " << what << std::endl;
    std::exit(1);
  }
}

void ok(const Status& status, const std::string& what) {
  check(status.ok(), what + ": " + std::to_string(status.error_code()) + " " + status.error_message());
}

std::string random_hex(size_t digits) {
  static std::mt19937_64 random{std::random_device{}()};
  std::string text;
  while (text.size() < digits) text += "0123456789abcdef"[random() % 16];
  return text;
}

// A UUID of version 4.
std::string request_id() {
  return random_hex(8) + "-" + random_hex(4) + "-4" + random_hex(3) + "-a" + random_hex(3) + "-" + random_hex(12);
}

std::string sha256(const std::string& data) {
  unsigned char digest[32];
  EVP_Digest(data.data(), data.size(), digest, nullptr, EVP_sha256(), nullptr);
  std::string text;
  for (unsigned char byte : digest) {
    text += "0123456789abcdef"[byte / 16];
    text += "0123456789abcdef"[byte % 16];
  }
  return text;
}

// Uploads a file, at most so many bytes of it. Announced by its digest, it is kept whole or not at all.
Status upload(ArtifactService::Stub& artifacts, const std::string& version, const std::string& path, const std::string& data,
              size_t most = std::string::npos) {
  ClientContext context;
  Artifact made;
  auto writer = artifacts.UploadArtifact(&context, &made);
  UploadArtifactRequest message;
  auto* metadata = message.mutable_metadata();
  metadata->set_parent(version);
  metadata->set_request_id(request_id());
  auto* artifact = metadata->mutable_artifact();
  artifact->set_path(path);
  artifact->set_type("model");
  artifact->set_size_bytes(data.size());
  artifact->set_sha256(sha256(data));
  bool open = writer->Write(message);
  for (size_t start = 0; open && start < data.size(); start += kPiece) {
    if (start >= most) {
      context.TryCancel();
      return writer->Finish();
    }
    message.set_data(data.substr(start, kPiece));
    open = writer->Write(message);
  }
  writer->WritesDone();
  return writer->Finish();
}

int64_t revision_of(const WatchEventsResponse& message) {
  if (message.has_created()) return message.created().revision();
  if (message.has_events()) return message.events().revision();
  return message.bookmark().revision();
}

int main(int, char** arguments) {
  std::stringstream config;
  config << std::ifstream(arguments[1]).rdbuf();
  grpc::ChannelArguments options;
  options.SetServiceConfigJSON(config.str());
  options.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  auto channel = grpc::CreateCustomChannel(arguments[2], grpc::InsecureChannelCredentials(), options);
  ModelService::Stub models(channel);
  VersionService::Stub versions(channel);
  ArtifactService::Stub artifacts(channel);
  LifecycleService::Stub lifecycle(channel);
  EventService::Stub events(channel);

  // Create.
  Model model;
  {
    ClientContext context;
    context.AddMetadata("x-registry-actor", "cpp-example");
    CreateModelRequest create;
    create.set_model_id("cpp-" + random_hex(8));
    create.mutable_model()->set_team("risk");
    create.set_request_id(request_id());
    ok(models.CreateModel(&context, create, &model), "CreateModel");
    check(model.creator() == "cpp-example", "the creator");
  }
  Version version;
  {
    ClientContext context;
    CreateVersionRequest create;
    create.set_parent(model.name());
    create.set_version_id("1.0");
    create.mutable_version()->set_framework("xgboost");
    create.set_request_id(request_id());
    ok(versions.CreateVersion(&context, create, &version), "CreateVersion");
  }

  // Upload two, and give one up halfway.
  std::map<std::string, std::string> files{{"model.bin", ""}, {"notes.txt", "trained on a Tuesday"}};
  for (int i = 0; i < 5000000; i++) files["model.bin"] += static_cast<char>(i * 7);
  for (const auto& [path, data] : files) ok(upload(artifacts, version.name(), path, data), "UploadArtifact");
  Status given_up = upload(artifacts, version.name(), "half.bin", files["model.bin"], 2 * kPiece);
  check(given_up.error_code() == StatusCode::CANCELLED, "an upload that is given up");

  // Finalize, and watch while it is promoted.
  Version sealed;
  {
    ClientContext context;
    FinalizeVersionRequest finalize;
    finalize.set_name(version.name());
    finalize.set_request_id(request_id());
    ok(versions.FinalizeVersion(&context, finalize, &sealed), "FinalizeVersion");
    check(sealed.state() == VERSION_STATE_READY && sealed.artifact_count() == 2, "the sealed version");
  }
  int64_t cursor = 0;
  {
    ClientContext watching;
    WatchEventsRequest wanted;
    wanted.set_parent(model.name());
    wanted.add_types("version.stage_transitioned");
    wanted.set_after_revision(sealed.revision());
    auto watch = events.WatchEvents(&watching, wanted);
    ClientContext context;
    TransitionStageRequest promote;
    TransitionStageResponse promoted;
    promote.set_name(version.name());
    promote.set_stage(STAGE_PRODUCTION);
    promote.set_comment("better recall");
    promote.set_request_id(request_id());
    ok(lifecycle.TransitionStage(&context, promote, &promoted), "TransitionStage");
    WatchEventsResponse message;
    do {
      check(watch->Read(&message), "a watch does not end by itself");
    } while (!message.has_events());
    check(message.events().events(0).comment() == "better recall", "the event");
    cursor = message.events().revision();
    check(cursor == promoted.revision(), "the revision of the promotion");
    watching.TryCancel();
  }

  // Pages.
  std::vector<std::string> listed;
  ListArtifactsRequest list;
  list.set_parent(version.name());
  list.set_page_size(1);
  do {
    ClientContext context;
    ListArtifactsResponse page;
    ok(artifacts.ListArtifacts(&context, list, &page), "ListArtifacts");
    for (const auto& artifact : page.artifacts()) listed.push_back(artifact.path());
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  check(listed == std::vector<std::string>{"model.bin", "notes.txt"}, "the artifacts");

  // A range of bytes.
  {
    ClientContext context;
    DownloadArtifactRequest range;
    range.set_name(version.name() + "/artifacts/model.bin");
    range.set_offset(1000);
    range.set_length(5000);
    auto reader = artifacts.DownloadArtifact(&context, range);
    DownloadArtifactResponse message;
    std::string data;
    while (reader->Read(&message)) data += message.data();
    ok(reader->Finish(), "DownloadArtifact");
    check(data == files["model.bin"].substr(1000, 5000), "the range");
  }

  // A typed error. Its details are a google.rpc.Status with an ErrorInfo.
  {
    ClientContext context;
    GetModelRequest get;
    get.set_name("models/none");
    Model none;
    Status status = models.GetModel(&context, get, &none);
    check(status.error_code() == StatusCode::NOT_FOUND, "a model that is not there");
    check(status.error_details().find("RESOURCE_NOT_FOUND") != std::string::npos, "its reason");
  }

  // A deadline.
  {
    ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(500));
    auto watch = events.WatchEvents(&context, WatchEventsRequest());
    WatchEventsResponse message;
    while (watch->Read(&message)) {
    }
    check(watch->Finish().error_code() == StatusCode::DEADLINE_EXCEEDED, "a deadline");
  }

  // A restart of the server: the watch goes on behind what was seen, and nothing is missed.
  WatchEventsRequest rest;
  rest.set_parent(model.name());
  auto watching = std::make_unique<ClientContext>();
  rest.set_after_revision(cursor);
  auto watch = events.WatchEvents(watching.get(), rest);
  std::cout << "restart" << std::endl;
  std::string line;
  std::getline(std::cin, line);
  check(line == "restarted", "the server is back");
  {
    ClientContext getting, context;
    GetModelRequest get;
    get.set_name(model.name());
    ok(models.GetModel(&getting, get, &model), "GetModel");
    UpdateModelRequest update;
    *update.mutable_model() = model;
    update.mutable_model()->set_description("after the restart");
    update.set_request_id(request_id());
    ok(models.UpdateModel(&context, update, &model), "UpdateModel");
  }
  WatchEventsResponse message;
  while (cursor < model.revision()) {
    if (watch->Read(&message)) {
      cursor = std::max(cursor, revision_of(message));
      continue;
    }
    check(watch->Finish().error_code() == StatusCode::UNAVAILABLE, "a watch that is cut");
    watching = std::make_unique<ClientContext>();
    watching->set_wait_for_ready(true);
    rest.set_after_revision(cursor);
    watch = events.WatchEvents(watching.get(), rest);
  }
  watching->TryCancel();
  std::cout << "all is well" << std::endl;
  return 0;
}
