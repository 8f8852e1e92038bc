//! Tokens: their records, and the first one, which lets somebody in who lets in others.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use prost_types::Timestamp;
use registry_proto::known::event_type;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::{Marked, check_principal, resource, roles};
use crate::error::{Error, Violations};
use crate::registry::kinds::kind;
use crate::registry::lists::{Listed, Page};
use crate::registry::resource::{Resource, Row, check_etag, exists};
use crate::registry::transaction::{Records as _, Tx, decode, event, event_of};
use crate::registry::{Committed, Intent, Mutation, Registry, facts, validate};
use crate::rules::access::SERVER;
use crate::rules::expression::embedded;
use crate::rules::names::{BINDINGS, Collection, Name, ROLES, TOKENS};
use crate::rules::tokens::{self, ID_BYTES, SECRET_BYTES, Shown};
use crate::store::{FactView, Kind, KindLayout, Place, Range, Record, Source};
use crate::stored::TokenRecord;

/// The number of `TokenRecord.token`.
const RECORD_TOKEN: u32 = 1;
/// To how many roles a token is narrowed.
const ROLES_OF_TOKEN: usize = 20;
/// What the keys on the slate begin with under which it stands when a token was last used.
const LAST_USES: &[u8] = b"t/";
/// How exactly that is known.
pub(super) const USE_NOTED: Duration = Duration::from_secs(60);

/// A token, and what is kept of its secret.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenRow {
    pub(super) token: pb::Token,
    pub(super) sha256: Bytes,
}

impl Row for TokenRow {
    type Message = pb::Token;

    fn decode(record: &Record) -> Result<Self, Error> {
        let TokenRecord { token, sha256 } = decode(record)?;
        Ok(Self { token: token.unwrap_or_default(), sha256 })
    }

    fn encoded(record: &Record) -> &[u8] {
        embedded(&record.payload, RECORD_TOKEN)
    }

    fn encode(&self) -> Bytes {
        let record = TokenRecord { token: Some(self.token.clone()), sha256: self.sha256.clone() };
        Bytes::from(record.encode_to_vec())
    }

    fn message(&self) -> &pb::Token {
        &self.token
    }

    fn message_mut(&mut self) -> &mut pb::Token {
        &mut self.token
    }

    fn into_message(self) -> pb::Token {
        self.token
    }
}

#[async_trait]
impl Resource for TokenRow {
    const LAYOUT: KindLayout = KindLayout {
        view: Some(FactView { about: "The tokens", facts: facts::MADE, facts_of: facts::of_token }),
        ..kind(Kind(19), "tokens")
    };
    const LISTED: Source = Source::Kind(Self::KIND);
    const OF: &'static Collection = &TOKENS;

    fn places(&self, _: &Name) -> Vec<Place> {
        Vec::new()
    }

    fn check(message: &pb::Token, found: &mut Violations) {
        validate::long(found, "description", &message.description, validate::TEXT_BYTES);
        validate::short(found, "title", &message.title);
        match message.principal.as_str() {
            "" => found.required("principal"),
            principal => {
                found.parsed("principal", check_principal(principal, &["users/", "services/"]));
            }
        }
        if message.roles.len() > ROLES_OF_TOKEN {
            found
                .invalid("roles", format!("has {} entries; at most {ROLES_OF_TOKEN} are allowed", message.roles.len()));
        }
        for (at, role) in message.roles.iter().enumerate() {
            found.name(format!("roles[{at}]"), &ROLES, role);
        }
        found.parsed("resource", resource(&message.resource));
        message.expire_time.iter().for_each(|time| validate::time(found, "expire_time", time));
    }
}

/// A new secret, which nobody knows but its bearer, and what is kept of it.
struct Secret {
    name: Name,
    text: Zeroizing<String>,
    sha256: Bytes,
}

impl Secret {
    /// With an id that was given, and checked, or another one.
    fn random(id: Option<&str>) -> Result<Self, Error> {
        let (mut other, mut secret) = ([0; ID_BYTES], Zeroizing::new([0; SECRET_BYTES]));
        let random = SystemRandom::new();
        let filled = random.fill(&mut other).and_then(|()| random.fill(&mut *secret));
        filled.map_err(|_| Error::internal("the system gives no random numbers"))?;
        Self::of(tokens::text(id.unwrap_or(&tokens::id(other)), &secret))
    }

    fn of(text: Zeroizing<String>) -> Result<Self, Error> {
        let shown = Shown::parse(&text).ok_or_else(|| Error::internal("a token has not the form of one"))?;
        let (name, sha256) = (Name::top(&TOKENS, shown.id), Bytes::copy_from_slice(&shown.hash()));
        Ok(Self { name, sha256, text })
    }
}

/// A token to be made, as its caller has it.
pub(crate) struct CreateToken {
    id: Option<String>,
    token: pb::Token,
}

impl CreateToken {
    /// Checks what a caller gave.
    pub(crate) fn new(id: String, token: Option<pb::Token>, found: &mut Violations) -> Option<Self> {
        let id = Some(id).filter(|id| !id.is_empty());
        if let Some(id) = &id {
            found.parsed("token_id", tokens::check_id(id));
        }
        let Some(mut token) = token else {
            found.required("token");
            return None;
        };
        found.within("token", |found| TokenRow::check(&token, found));
        token.resource = resource(&token.resource).ok()?;
        Some(Self { id, token })
    }
}

impl Registry {
    /// Makes a token, and shows its secret once.
    pub(crate) async fn create_token(&self, intent: Intent, create: CreateToken) -> Result<pb::Token, Error> {
        let validate_only = intent.validate_only;
        let CreateToken { id, token } = create;
        let Secret { name, text, sha256 } = Secret::random(id.as_deref())?;
        let made = self.commit(intent, Marked(MakeToken { name, token, sha256: sha256.clone() })).await?;
        if validate_only {
            return Ok(made);
        }
        // A repeated request finds the token that it made then, of which nobody knows the secret any more.
        let name = Name::canonical(&TOKENS, &made.name);
        let is_new = self.store.resource::<TokenRow>(&name).await?.sha256 == sha256;
        let secret = if is_new { text.to_string() } else { String::new() };
        Ok(pb::Token { secret, ..made })
    }

    /// A token, and when it was last used.
    pub(crate) async fn token(&self, name: &Name) -> Result<pb::Token, Error> {
        let token = self.get::<TokenRow>(name).await?;
        let used = self.store.slate_get(&use_key(name.id())).await?;
        Ok(pb::Token { last_use_time: used.as_deref().and_then(use_time), ..token })
    }

    /// A page of the tokens, and when each was last used.
    pub(crate) async fn list_tokens(&self, page: &Page) -> Result<Listed<pb::Token>, Error> {
        let used = self.store.slate_scan(LAST_USES).await?;
        let used: HashMap<_, _> = used.iter().filter_map(|(key, value)| Some((&key[..], use_time(value)?))).collect();
        let read = |record: Record| {
            let TokenRow { token, .. } = TokenRow::decode(&record)?;
            let key = use_key(Name::canonical(&TOKENS, &token.name).id());
            Ok(pb::Token { last_use_time: used.get(key.as_slice()).copied(), ..token })
        };
        self.page::<TokenRow, _>(TokenRow::LISTED, Vec::new(), page, read).await
    }

    /// Gives the role of the admin to a principal, and lets them in with a secret, unless there is any binding: then it returns false.
    pub(crate) async fn make_first_token(&self, principal: &str, secret: Zeroizing<String>) -> Result<bool, Error> {
        let Secret { name, sha256, .. } = Secret::of(secret)?;
        let token =
            pb::Token { title: "The first one".to_owned(), principal: principal.to_owned(), ..Default::default() };
        self.commit(Intent::own(), Marked(FirstToken(MakeToken { name, token, sha256 }))).await
    }
}

/// A secret that no token has yet.
pub(crate) fn new_secret() -> Result<Zeroizing<String>, Error> {
    Ok(Secret::random(None)?.text)
}

/// Whether a text has the form of a secret.
pub(crate) fn is_secret(text: &str) -> bool {
    Shown::parse(text).is_some()
}

/// Where it stands when a token was last used.
pub(super) fn use_key(id: &str) -> Vec<u8> {
    [LAST_USES, id.as_bytes()].concat()
}

/// A time as it stands there: whole seconds since 1970.
pub(super) fn use_value(time: SystemTime) -> [u8; 8] {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().to_be_bytes()
}

fn use_time(value: &[u8]) -> Option<Timestamp> {
    Some(Timestamp { seconds: i64::from_be_bytes(value.try_into().ok()?), nanos: 0 })
}

/// A token to be made, with what is kept of its secret.
struct MakeToken {
    name: Name,
    token: pb::Token,
    sha256: Bytes,
}

#[async_trait]
impl Mutation for MakeToken {
    type Answer = pb::Token;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        if let Some(record) = tx.store.get(TokenRow::KIND, &self.name.key()).await? {
            return Err(exists(self.name.as_str(), &TokenRow::decode(&record)?));
        }
        for role in &self.token.roles {
            roles::must_exist(tx, role).await?;
        }
        let token = pb::Token { name: self.name.to_string(), ..self.token.given() };
        let row = TokenRow { token, sha256: self.sha256.clone() };
        tx.write(event_of::<TokenRow>("created"), None, row).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.changed::<TokenRow>("created")
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        TokenRow::reads(&self.name)
    }
}

/// The token of a registry in which nobody may do anything yet, to be made with a binding to the role of the admin.
struct FirstToken(MakeToken);

#[async_trait]
impl Mutation for FirstToken {
    /// Whether it was made.
    type Answer = bool;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let any = Range::first(Vec::new(), 1);
        if !tx.store.scan(Source::Kind(pb::Binding::KIND), &any).await?.is_empty() {
            return Ok(());
        }
        // A file may have kept it from before.
        if tx.store.get(TokenRow::KIND, &self.0.name.key()).await?.is_none() {
            self.0.apply(tx).await?;
        }
        let binding = pb::Binding {
            name: Name::top(&BINDINGS, "first-admin").to_string(),
            role: "roles/admin".to_owned(),
            members: vec![self.0.token.principal.clone()],
            resource: SERVER.to_owned(),
            ..Default::default()
        };
        tx.write(event_of::<pb::Binding>("created"), None, binding).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        Ok(!committed.events.is_empty())
    }
}

/// A token that is to let nobody in any more.
pub(crate) struct RevokeToken {
    pub(crate) name: Name,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for RevokeToken {
    type Answer = pb::Token;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let before: TokenRow = tx.any(&self.name).await?;
        check_etag(&before, &self.etag)?;
        if before.token.revoke_time.is_some() {
            tx.unchanged(self.name.to_string(), Some(before.token.into_resource()));
            return Ok(());
        }
        let mut after = before.clone();
        after.token.revoke_time = Some(tx.now);
        tx.write(event(event_type::TOKEN_REVOKED), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        let revoked = committed.events.iter().any(|event| event.r#type == event_type::TOKEN_REVOKED);
        let r#type = if revoked { event_type::TOKEN_REVOKED } else { event_type::REQUEST_UNCHANGED };
        committed.resource::<TokenRow>(r#type)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        TokenRow::reads(&self.name)
    }
}
