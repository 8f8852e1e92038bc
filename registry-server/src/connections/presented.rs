//! What a client shows of itself when it connects.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::asn1::{PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::{Decode as _, Tag, Tagged as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::rules::certificates::Names;

/// `commonName` (X.520, 2.5.4.3).
const COMMON_NAME: x509_cert::spki::ObjectIdentifier = x509_cert::spki::ObjectIdentifier::new_unwrap("2.5.4.3");

/// A client's certificate, which TLS has verified.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Presented {
    pub(crate) names: Names,
    /// When it ends.
    pub(crate) expires: SystemTime,
}

impl Presented {
    /// A certificate that can't be read, and so names nobody.
    pub(crate) fn unreadable() -> Self {
        Self { names: Names::default(), expires: SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40) }
    }

    /// What is in a certificate; `None` if it can't be read. A name of it that is no text counts, as one that nothing is like.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(certificate).ok()?.tbs_certificate;
        let expires = certificate.validity.not_after.to_system_time();
        let alternatives = certificate.get::<SubjectAltName>().ok()?.map(|(_, SubjectAltName(names))| names);
        let uri = |name: GeneralName| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str().to_owned()),
            _ => None,
        };
        let uris = alternatives.into_iter().flatten().filter_map(uri).collect();
        let attributes = certificate.subject.0.iter().flat_map(|part| part.0.iter());
        let common_names = attributes.filter(|attribute| attribute.oid == COMMON_NAME);
        let common_names = common_names.map(|attribute| {
            let value = &attribute.value;
            let text = match value.tag() {
                Tag::Utf8String => Utf8StringRef::try_from(value).ok().map(|text| text.as_str().to_owned()),
                Tag::PrintableString => PrintableStringRef::try_from(value).ok().map(|text| text.as_str().to_owned()),
                Tag::TeletexString => TeletexStringRef::try_from(value).ok().map(|text| text.as_str().to_owned()),
                _ => None,
            };
            text.unwrap_or_default()
        });
        Some(Self { names: Names { uris, common_names: common_names.collect() }, expires })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    use super::*;

    #[test]
    fn its_names_and_its_end_are_read() {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Aña");
        params.distinguished_name.push(DnType::OrganizationName, "Corp");
        params.not_after = date_time_ymd(2100, 1, 1);
        for uri in ["spiffe://corp.example/sa/a", "https://corp.example"] {
            params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let presented = Presented::read(certificate.der()).unwrap();
        assert_eq!(presented.names.uris, ["spiffe://corp.example/sa/a", "https://corp.example"]);
        assert_eq!(presented.names.common_names, ["Aña"]);
        assert_eq!(presented.expires, SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800));
        assert_eq!(Presented::read(&CertificateDer::from(vec![0x30, 0])), None);
    }
}
