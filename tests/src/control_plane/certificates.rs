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
    /// What service accounts' tokens are signed with, and what that is checked by.
    pub(super) accounts_key: PathBuf,
    pub(super) accounts_public_key: PathBuf,
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
            accounts_public_key: at("accounts.pub"),
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
        let accounts_key = key();
        write(&certificates.accounts_key, &accounts_key.serialize_pem());
        write(&certificates.accounts_public_key, &accounts_key.public_key_pem());
        certificates
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("writing keys and certificates");
}
