//! The keys and certificates of a control plane that lives for one test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Where they are.
#[derive(Debug)]
pub(super) struct Certificates {
    /// Of the authority that has signed the server's.
    pub(super) authority: PathBuf,
    pub(super) server: PathBuf,
    pub(super) server_key: PathBuf,
    /// What service accounts' tokens are signed with.
    pub(super) accounts_key: PathBuf,
}

impl Certificates {
    /// Makes them, for a server of these names and addresses.
    pub(super) fn make(folder: &Path, names: &[&str]) -> Self {
        let at = |name: &str| folder.join(name);
        let certificates = Self {
            authority: at("authority.crt"),
            server: at("server.crt"),
            server_key: at("server.key"),
            accounts_key: at("accounts.key"),
        };
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "a test's authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = key();
        let signed = authority.self_signed(&authority_key).expect("an authority's certificate");
        write(&certificates.authority, &signed.pem());
        let issuer = Issuer::new(authority, authority_key);
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let server = CertificateParams::new(names).expect("names of a server");
        let server_key = key();
        let signed = server.signed_by(&server_key, &issuer).expect("a server's certificate");
        write(&certificates.server, &signed.pem());
        write(&certificates.server_key, &server_key.serialize_pem());
        write(&certificates.accounts_key, &key().serialize_pem());
        certificates
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("writing keys and certificates");
}
