//! Rules of certificates, as people write them.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::rules::certificates::Rule;

/// Which principal the certificates of a name are: `spiffe://corp.example/sa/{id}=services/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CertificateRule {
    text: String,
    pub(crate) rule: Rule,
}

impl FromStr for CertificateRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self { rule: text.parse()?, text: text.to_owned() })
    }
}

impl TryFrom<String> for CertificateRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<CertificateRule> for String {
    fn from(rule: CertificateRule) -> Self {
        rule.text
    }
}

impl Display for CertificateRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
