//! TLS, as an API server speaks it.

use std::{
    io::{self, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::process;

/// Whom a server proves to be: files in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate; it is its own authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Identity {
    /// That of files `server.crt` and `server.key` in a folder.
    pub fn at(folder: &Path) -> Self {
        Self { certificate: folder.join("server.crt"), key: folder.join("server.key") }
    }

    /// Makes one for names and addresses, as `DNS:kubernetes,IP:10.96.0.1`, valid for a day.
    pub fn make(folder: &Path, names: &str) -> Self {
        let identity = Self::at(folder);
        let mut openssl = process::mortal_command("openssl");
        openssl
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-noenc", "-days", "1", "-subj", "/CN=kube-apiserver"])
            .args(["-addext", &format!("subjectAltName={names}"), "-out"])
            .arg(&identity.certificate)
            .arg("-keyout")
            .arg(&identity.key);
        process::must(&mut openssl);
        identity
    }

    pub(super) fn settings(&self) -> Arc<ServerConfig> {
        let certificate =
            CertificateDer::from_pem_file(&self.certificate).expect("reading a certificate");
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("reading a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let settings = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate and its key");
        Arc::new(settings)
    }
}

/// The server's end of a connection; the handshake is made when it is read.
pub(super) fn accept(
    stream: TcpStream,
    settings: &Arc<ServerConfig>,
) -> io::Result<StreamOwned<ServerConnection, TcpStream>> {
    let connection = ServerConnection::new(Arc::clone(settings)).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}

/// Says that nothing follows, without which a client takes what it has got for a part.
pub(super) fn close(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> io::Result<()> {
    stream.conn.send_close_notify();
    stream.flush()
}
