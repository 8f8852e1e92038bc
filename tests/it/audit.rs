//! Proof of the audit trail: what the registry signs is what it has, also in the eyes of others.

use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use registry_client::known::event_type;
use registry_client::pb::{self, ErrorReason};
use registry_client::{Error, RegistryClient};
use registry_common::tlog::{
    Checkpoint, Frontier, Hash, Note, Signer, Tile, Verifier, chain, leaf_hash, verify_consistency, verify_inclusion,
};
use registry_server::backup::restore::Until;
use registry_tests::expect::{invalid, refused};
use registry_tests::restore::{back_up, restore_into};
use registry_tests::{TestServer, events, model_with, ready};
use tonic::Code;

use crate::compaction::{drop_some, forgetful};

const MODEL: &str = "models/fraud";

fn hash(bytes: &[u8]) -> Hash {
    Hash(bytes.try_into().unwrap())
}

fn hashes<B: AsRef<[u8]>>(all: &[B]) -> Vec<Hash> {
    all.iter().map(|bytes| hash(bytes.as_ref())).collect()
}

/// What a checkpoint says, once its signature is verified.
fn opened(checkpoint: &pb::Checkpoint) -> Checkpoint {
    let key: Verifier = checkpoint.public_key.parse().unwrap();
    let note: Note = checkpoint.note.parse().unwrap();
    assert_eq!(key.verify(&note), Ok(()));
    let read: Checkpoint = note.text().parse().unwrap();
    assert_eq!((read.origin.as_str(), read.size.cast_signed()), (key.name(), checkpoint.tree_size));
    read
}

/// Some hundred events, more than are in a tile.
async fn fill(client: &RegistryClient) {
    model_with(client, MODEL, 3).await;
    for number in 0..150 {
        client.set_alias(MODEL, "champion", ((number % 3) + 1).to_string()).await.unwrap();
        client.create_model(format!("m{number}")).await.unwrap();
    }
}

async fn exported(client: &RegistryClient) -> (pb::Checkpoint, Vec<pb::AuditLeaf>) {
    let (checkpoint, leaves) = client.export_log().await.unwrap();
    (checkpoint, leaves.try_collect().await.unwrap())
}

fn root_of(leaves: &[pb::AuditLeaf]) -> Hash {
    let mut tree = Frontier::default();
    for leaf in leaves {
        tree.push(hash(&leaf.leaf_hash));
    }
    tree.root()
}

/// Proves that a log begins with what it was, and fails if it does not.
async fn assert_begins_with(client: &RegistryClient, then: &Checkpoint, now: &Checkpoint) {
    let sizes = (then.size.cast_signed(), now.size.cast_signed());
    let proof = client.prove_consistency(sizes.0).to_size(sizes.1).await.unwrap();
    assert_eq!((hash(&proof.from_root), hash(&proof.to_root), proof.to_size), (then.root, now.root, sizes.1));
    let verified = verify_consistency(&hashes(&proof.hashes), (then.size, then.root), (now.size, now.root));
    assert_eq!(verified, Ok(()), "{} to {}", then.size, now.size);
}

#[tokio::test]
async fn every_event_is_a_leaf_and_is_proved() {
    let server = TestServer::start().await;
    let client = server.client();
    let first = opened(&client.checkpoint().await.unwrap());
    assert_eq!(first.size, 1, "that the key was made");
    fill(&client).await;

    let (checkpoint, leaves) = exported(&client).await;
    let signed = opened(&checkpoint);
    let log = events(&client).await;
    assert_eq!(log[0].r#type, event_type::AUDIT_KEY_CREATED);
    assert_eq!(log[0].comment, checkpoint.public_key);
    assert_eq!(leaves.len(), log.len());
    let mut previous = chain::CHAIN_START;
    for (leaf, event) in leaves.iter().zip(&log) {
        assert_eq!(&prost::Message::decode(leaf.event.clone()).map(|read: pb::Event| read).unwrap(), event);
        assert_eq!((leaf.revision, hash(&leaf.leaf_hash)), (event.revision, leaf_hash(&leaf.event)));
        assert!(chain::follows(previous, &leaf.event), "{}", event.name);
        previous = hash(&event.hash);
    }
    assert_eq!((signed.size, signed.root), (leaves.len() as u64, root_of(&leaves)));
    assert_eq!(opened(&client.checkpoint().await.unwrap()), signed, "nothing has happened since");

    for revision in 1..=log.last().unwrap().revision {
        let proof = client.prove_inclusion(revision).await.unwrap();
        assert_eq!((proof.tree_size, hash(&proof.root)), (checkpoint.tree_size, signed.root));
        let of_revision: Vec<_> = leaves.iter().filter(|leaf| leaf.revision == revision).cloned().collect();
        let proved: Vec<_> = proof.leaves.iter().map(|proof| proof.leaf.clone().unwrap()).collect();
        assert_eq!(proved, of_revision);
        for LeafProof { leaf, hashes } in proof.leaves.iter().map(LeafProof::of) {
            assert_eq!(verify_inclusion(&hashes, leaf, (signed.size, signed.root)), Ok(()), "revision {revision}");
        }
    }
    // In the tree as it was then, too.
    let then = client.prove_inclusion(2).tree_size(100).await.unwrap();
    assert_eq!((then.tree_size, hash(&then.root)), (100, root_of(&leaves[..100])));
    assert_begins_with(&client, &first, &signed).await;
    for size in [2, 15, 16, 17, 255, 256, 257, leaves.len()] {
        let then = Checkpoint { origin: String::new(), size: size as u64, root: root_of(&leaves[..size]) };
        assert_begins_with(&client, &then, &signed).await;
    }

    for (path, range) in [("tile/0/000", 0..256), ("tile/0/001.p/7", 256..263), ("tile/0/000.p/3", 0..3)] {
        let tile = client.read_tile(path).await.unwrap();
        let expected: Vec<u8> = leaves[range].iter().flat_map(|leaf| leaf.leaf_hash.to_vec()).collect();
        assert!(tile.path == path && tile.hashes == expected, "{path}");
    }
    let above = client.read_tile(Tile { level: 1, index: 0, width: 1 }.path()).await.unwrap();
    assert_eq!(hash(&above.hashes), root_of(&leaves[..256]));
}

struct LeafProof {
    leaf: (u64, Hash),
    hashes: Vec<Hash>,
}

impl LeafProof {
    fn of(proof: &pb::LeafProof) -> Self {
        let leaf = proof.leaf.as_ref().unwrap();
        Self { leaf: (leaf.leaf.cast_unsigned(), leaf_hash(&leaf.event)), hashes: hashes(&proof.hashes) }
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_proved() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    let size = client.checkpoint().await.unwrap().tree_size;
    let unknown = async |call: Result<(), Error>| {
        let error = call.unwrap_err();
        assert_eq!((error.is_out_of_range(), error.reason()), (true, Some(ErrorReason::RevisionUnknown)), "{error}");
    };
    unknown(client.prove_inclusion(size + 1).await.map(drop)).await;
    unknown(client.prove_inclusion(i64::MAX).await.map(drop)).await;
    unknown(client.prove_inclusion(1).tree_size(size + 1).await.map(drop)).await;
    unknown(client.prove_inclusion(3).tree_size(1).await.map(drop)).await;
    unknown(client.prove_consistency(size + 1).await.map(drop)).await;
    unknown(client.prove_consistency(1).to_size(size + 1).await.map(drop)).await;
    unknown(client.read_tile("tile/0/000").await.map(drop)).await;
    unknown(client.read_tile("tile/7/999.p/1").await.map(drop)).await;
    for revision in [0, -1, i64::MIN] {
        invalid(&server, client.prove_inclusion(revision), &[("revision", ErrorReason::FieldInvalid)]).await;
    }
    invalid(&server, client.prove_consistency(2).to_size(1), &[("to_size", ErrorReason::FieldInvalid)]).await;
    invalid(&server, client.prove_consistency(-1), &[("from_size", ErrorReason::FieldInvalid)]).await;
    invalid(&server, client.read_tile("tile/0/0"), &[("path", ErrorReason::FieldInvalid)]).await;
    let empty = client.prove_consistency(0).await.unwrap();
    assert!(empty.hashes.is_empty() && empty.to_size == size);
}

#[tokio::test]
async fn what_the_log_drops_stays_in_the_tree() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = TestServer::with(forgetful(folder.path())).await;
    let client = server.client();
    model_with(&client, MODEL, 3).await;
    let (then, before) = exported(&client).await;
    let oldest = drop_some(&client).await;

    server.restart().await;
    let (now, after) = exported(&client).await;
    assert_eq!(now.public_key, then.public_key);
    let (then, now) = (opened(&then), opened(&now));
    assert_eq!(root_of(&after), now.root);
    for (before, after) in before.iter().zip(&after) {
        let kept = pb::AuditLeaf { event: Default::default(), ..before.clone() };
        assert_eq!(after, if after.revision < oldest { &kept } else { before });
    }
    assert!(after.iter().all(|leaf| leaf.event.is_empty() == (leaf.revision < oldest)));
    assert_begins_with(&client, &then, &now).await;
    let proof = client.prove_inclusion(2).await.unwrap();
    // Who kept the event proves it all the same.
    let LeafProof { leaf, hashes } = LeafProof::of(&proof.leaves[0]);
    assert!(proof.leaves[0].leaf.as_ref().unwrap().event.is_empty());
    let kept = before.iter().find(|leaf| leaf.revision == 2).unwrap();
    assert_eq!(verify_inclusion(&hashes, (leaf.0, leaf_hash(&kept.event)), (now.size, now.root)), Ok(()));
}

#[tokio::test]
async fn what_is_restored_is_another_log_that_begins_alike() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 3).await;
    let then = client.checkpoint().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (backup, storage) = (folder.path().join("backup"), folder.path().join("storage"));
    back_up(&client, &backup).await;
    restore_into(&storage, &backup, Until::End).await.unwrap();

    let restored = TestServer::on(&storage).await;
    let other = restored.client();
    ready(&other, MODEL).await;
    let now = other.checkpoint().await.unwrap();
    assert_ne!(now.public_key, then.public_key);
    let (then, now) = (opened(&then), opened(&now));
    assert_ne!(now.origin, then.origin);
    assert_begins_with(&other, &then, &now).await;
}

/// A line that this witness would put below a checkpoint.
fn line(witness: u8, checkpoint: &pb::Checkpoint) -> String {
    let signer = Signer::new(&format!("witness{witness}"), [witness; 32]).unwrap();
    let note: Note = checkpoint.note.parse().unwrap();
    signer.sign(note.text()).signatures()[0].to_string()
}

#[tokio::test]
async fn the_lines_of_witnesses_are_kept_with_the_largest_tree() {
    let server = TestServer::start().await;
    let client = server.client();
    let missing = client.checkpoint().cosigned().await.unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
    model_with(&client, MODEL, 1).await;
    let old = client.checkpoint().await.unwrap();
    let with = |checkpoint: &pb::Checkpoint, witnesses: &[u8]| {
        let lines = witnesses.iter().map(|witness| line(*witness, checkpoint) + "\n");
        checkpoint.note.clone() + &lines.collect::<String>()
    };
    let one = client.add_cosignatures(with(&old, &[1])).await.unwrap();
    assert_eq!((one.note.as_str(), one.tree_size), (with(&old, &[1]).as_str(), old.tree_size));
    // They come one after the other, and again.
    client.add_cosignatures(with(&old, &[2])).await.unwrap();
    client.add_cosignatures(with(&old, &[1, 2])).await.unwrap();
    let both = client.checkpoint().cosigned().await.unwrap();
    for witness in [1, 2] {
        assert_eq!(both.note.matches(&line(witness, &old)).count(), 1, "{}", both.note);
    }
    assert_eq!(opened(&both), opened(&old));

    ready(&client, MODEL).await;
    let new = client.checkpoint().await.unwrap();
    client.add_cosignatures(with(&new, &[3])).await.unwrap();
    assert_eq!(client.checkpoint().cosigned().await.unwrap().note, with(&new, &[3]));
    let late = client.add_cosignatures(with(&old, &[4]));
    refused(&server, late, Code::FailedPrecondition, ErrorReason::CosignedLater).await;

    let at_fault = [("note", ErrorReason::FieldInvalid)];
    let forged = with(&new, &[5]).replacen(&format!("\n{}\n", new.tree_size), "\n1\n", 1);
    let own_line = new.note.lines().last().unwrap().to_owned();
    // Of the same key, whose hash the line begins with, and another signature.
    let (begin, end) = own_line.split_at(own_line.len() - 20);
    let other = if end.starts_with('A') { "B" } else { "A" };
    let own_twice = format!("{}{begin}{other}{}\n", new.note, &end[1..]);
    let many = with(&new, &(1..=17).collect::<Vec<_>>());
    for note in [new.note.clone(), "no note".to_owned(), forged, many, own_twice, with(&new, &[5, 5])] {
        invalid(&server, client.add_cosignatures(note), &at_fault).await;
    }
    let stranger = Signer::new("stranger", [9; 32]).unwrap();
    invalid(&server, client.add_cosignatures(stranger.sign(&new.note).to_string()), &at_fault).await;
}

/// Go's `sumdb/note` and `sumdb/tlog`, which other transparency logs are verified with.
#[tokio::test]
async fn gos_own_packages_open_our_checkpoints_and_verify_our_proofs() {
    let server = TestServer::start().await;
    let client = server.client();
    let then = client.checkpoint().await.unwrap();
    model_with(&client, MODEL, 20).await;
    let now = client.checkpoint().await.unwrap();
    let in_base64 = |hashes: &[bytes::Bytes]| hashes.iter().map(|hash| BASE64_STANDARD.encode(hash)).collect();
    let mut proofs = Vec::new();
    let mut events = 0;
    for revision in 1..=client.status().await.unwrap().revision {
        for proof in client.prove_inclusion(revision).tree_size(now.tree_size).await.unwrap().leaves {
            let leaf = proof.leaf.unwrap();
            let hashes: Vec<String> = in_base64(&proof.hashes);
            let event = BASE64_STANDARD.encode(&leaf.event);
            proofs.push(serde_json::json!({ "leaf": leaf.leaf, "event": event, "hashes": hashes }).to_string());
            events += 1;
        }
    }
    let consistency = client.prove_consistency(then.tree_size).to_size(now.tree_size).await.unwrap();
    let hashes: Vec<String> = in_base64(&consistency.hashes);
    proofs.push(serde_json::json!({ "hashes": hashes }).to_string());

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let judge = concat!(env!("CARGO_MANIFEST_DIR"), "/languages/go/audit.go");
    let verify = |then: &str| {
        let mut go = Command::new("go");
        go.args(["run", judge, &now.public_key]);
        go.args([file("then", then), file("now", &now.note), file("proofs", &proofs.join("\n"))]);
        // Debian's packages, and nothing from elsewhere.
        go.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("GOFLAGS", "").output().unwrap()
    };
    let output = verify(&then.note);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        said,
        format!("{events} events of {} are in the log, 1 times it begins with that of 1\n", now.tree_size)
    );
    // It would say so otherwise.
    assert!(!verify(&then.note.replacen("\n1\n", "\n2\n", 1)).status.success());
}
