//! `login` and `logout`: people get in with their account elsewhere, by a browser, and stay in until they log out.

mod device;
mod kept;

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use reqwest::Url;

use self::device::Issuer;
use self::kept::Login;
use crate::output::{self, note};
use crate::settings::{Trust, client};
use crate::{Context, Failure, Usage};

/// Log in with an account of an issuer of OpenID Connect that the registry knows.
///
/// registryctl asks the issuer for a code, which you confirm in a browser, on this machine or another one (RFC 8628). The token that it
/// gets is kept for this endpoint, in a file that is yours alone, and shown to it by all commands from then on, unless --token-file or
/// MODEL_REGISTRY_TOKEN give another one. It is renewed as long as the issuer allows that.
#[derive(Debug, Args)]
pub(crate) struct LogIn {
    /// The URL of the issuer; it is remembered
    #[arg(long, value_name = "URL", value_parser = url)]
    issuer: Option<Url>,
    /// What registryctl is called there; it is remembered. The client needs the device flow, and no secret
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Show the access token for this resource (RFC 8707) instead of the ID token, which is for the client; it is remembered
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// Ask for this as well, such as `groups` or `offline_access`; may be given several times
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
}

fn url(text: &str) -> Result<Url, String> {
    text.parse().map_err(|_| "an issuer is a URL, such as https://id.example".to_owned())
}

pub(crate) async fn log_in(context: &Context, endpoint: &str, command: LogIn) -> Result<(), Failure> {
    let before = Login::read(endpoint).ok().flatten();
    let remembered = |of: fn(&Login) -> String| before.as_ref().map(of);
    let issuer = command.issuer.map(String::from).or_else(|| remembered(|login| login.issuer.clone()));
    let client_id = command.client_id.or_else(|| remembered(|login| login.client_id.clone()));
    let (Some(issuer), Some(client_id)) = (issuer, client_id) else {
        return Err(Usage("the first time, login needs --issuer and --client-id".to_owned()).into());
    };
    let resource = command.resource.or_else(|| before.and_then(|login| login.resource));
    let found = Issuer::find(&issuer, context.trust.ca_file()).await?;
    let begun = found.begin(&client_id, resource.as_deref(), &command.scope).await?;
    match begun.direct() {
        Some(url) => note(&format!("open {url}, and confirm that it shows {}", begun.code())),
        None => note(&format!("open {}, and enter {}", begun.url(), begun.code())),
    }
    let tokens = begun.wait().await?;
    let login = Login { issuer, client_id, resource, token: tokens.token, refresh_token: tokens.refresh_token };
    // What the registry does not take need not be kept.
    let builder = context.trust.clone().with_token(&login.token).shown_by(client(endpoint));
    let caller = builder.connect_lazy()?.who_am_i().await?;
    login.write(endpoint)?;
    let renewed = if login.refresh_token.is_some() { ", and is renewed" } else { "" };
    let until = output::time(caller.expire_time.as_ref());
    context
        .out
        .text(&format!("logged in at {endpoint} as {}, by a token that ends {until}{renewed}\n", caller.principal))
}

pub(crate) fn log_out(context: &Context, endpoint: &str) -> Result<(), Failure> {
    match Login::remove(endpoint)? {
        true => context.out.text(&format!("logged out at {endpoint}\n")),
        false => {
            note(&format!("nobody was logged in at {endpoint}"));
            Ok(())
        }
    }
}

/// The token of whoever is logged in at an endpoint. One that is over is renewed first.
pub(crate) async fn shown(endpoint: &str, trust: Trust) -> Result<Trust, Failure> {
    if trust.has_token() {
        return Ok(trust);
    }
    let Some(mut login) = Login::read(endpoint)? else { return Ok(trust) };
    if let Some(refresh_token) = login.refresh_token.clone().filter(|_| is_over(&login.token)) {
        let renew = async {
            let issuer = Issuer::find(&login.issuer, trust.ca_file()).await?;
            issuer.renew(&login.client_id, login.resource.as_deref(), &refresh_token).await
        };
        match renew.await {
            // OpenID Connect Core, 12.2.
            Ok(tokens) if !device::same_subject(&login.token, &tokens.token) => {
                let other = format!("{} has renewed the login for another account: log in again", login.issuer);
                return Err(other.into());
            }
            Ok(tokens) => {
                login.token = tokens.token;
                // Many issuers let each be used once.
                login.refresh_token = tokens.refresh_token.or(Some(refresh_token));
                login.write(endpoint)?;
            }
            // Another registryctl may have been first.
            Err(error) => match Login::read(endpoint)?.filter(|now| !is_over(&now.token)) {
                Some(now) => login = now,
                None => note(&format!("the token of {} could not be renewed: {error}", login.issuer)),
            },
        }
    }
    Ok(trust.with_token(&login.token))
}

/// Whether a JSON Web Token ends within a few seconds, as far as can be read.
fn is_over(token: &str) -> bool {
    const SLACK_SECONDS: u64 = 10;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    device::end(token).is_some_and(|end| end <= now + SLACK_SECONDS)
}
