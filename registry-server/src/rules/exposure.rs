//! Whom a server may listen to: other machines only over TLS, and only if callers prove who they are.

/// What keeps strangers out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Protection {
    /// Connections are TLS.
    pub(crate) tls: bool,
    /// Callers prove who they are.
    pub(crate) access: bool,
}

/// What a server lacks that other machines reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// Who reads the network can read tokens and artifacts.
    Tls,
    /// Everybody may do everything.
    Access,
    /// Both.
    TlsAndAccess,
}

/// What becomes of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It serves.
    Fine,
    /// It serves, as somebody has said that it may, and warns.
    Warn(Lack),
    /// It does not serve.
    Refuse(Lack),
}

/// Decides on a start, by whether only this machine reaches the address.
pub(crate) fn judge(is_loopback: bool, protection: Protection, insecure: bool) -> Verdict {
    let lack = match (protection.tls, protection.access) {
        (true, true) => return Verdict::Fine,
        (false, true) => Lack::Tls,
        (true, false) => Lack::Access,
        (false, false) => Lack::TlsAndAccess,
    };
    match (is_loopback, insecure) {
        (true, _) => Verdict::Fine,
        (false, true) => Verdict::Warn(lack),
        (false, false) => Verdict::Refuse(lack),
    }
}

impl Lack {
    /// What happens without it.
    pub(crate) fn danger(self) -> &'static str {
        match self {
            Self::Tls => "whoever reads the network can call with the tokens that they see",
            Self::Access => "everybody who reaches the address may do everything",
            Self::TlsAndAccess => "everybody who reaches the address may do everything, and read what others send",
        }
    }

    /// What helps.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Tls => "give --tls-cert and --tls-key",
            Self::Access => "give --access tokens",
            Self::TlsAndAccess => "give --tls-cert, --tls-key and --access tokens",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_need_tls_and_access_or_somebody_who_says_otherwise() {
        use Verdict::{Fine, Refuse, Warn};
        for (is_loopback, tls, access, insecure, expected) in [
            (true, false, false, false, Fine),
            (true, false, true, false, Fine),
            (true, true, false, false, Fine),
            (true, false, false, true, Fine),
            (false, true, true, false, Fine),
            (false, true, true, true, Fine),
            (false, false, false, false, Refuse(Lack::TlsAndAccess)),
            (false, false, true, false, Refuse(Lack::Tls)),
            (false, true, false, false, Refuse(Lack::Access)),
            (false, false, false, true, Warn(Lack::TlsAndAccess)),
            (false, false, true, true, Warn(Lack::Tls)),
            (false, true, false, true, Warn(Lack::Access)),
        ] {
            let found = judge(is_loopback, Protection { tls, access }, insecure);
            assert_eq!(found, expected, "loopback {is_loopback}, TLS {tls}, access {access}, insecure {insecure}");
        }
    }
}
