//! What the files of the page hold, read again when they change: its token, its certificate, who vouches for its readers.

use std::{path::PathBuf, sync::Arc, time::Instant};

use secrecy::SecretSlice;
use tokio_rustls::TlsAcceptor;

use super::super::transport::{
    files::{Files, content},
    server_tls::{ServerTls, server_config},
};

/// Who may read the page, and where that stands.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The file of the token that readers have to send; `None`: they need none.
    pub token: Option<PathBuf>,
    /// The files of the page's TLS; `None`: it is served in clear text.
    pub tls: Option<ServerTls>,
    /// Host names that the page goes by, in lower case, besides loopback names.
    pub hosts: Vec<String>,
}

/// The same as its files had it.
pub(super) struct Material {
    pub(super) token: Option<Arc<SecretSlice<u8>>>,
    pub(super) tls: Option<TlsAcceptor>,
    files: Files,
}

impl Material {
    /// Reads what `access` names.
    ///
    /// # Errors
    /// A file cannot be used: which, why, and what to do.
    pub(super) fn read(access: &Access, now: Instant) -> Result<Self, String> {
        let tls = access.tls.iter().flat_map(ServerTls::paths);
        // Before the files are read: a change in between is then seen next time.
        let files = Files::seen(access.token.as_deref().into_iter().chain(tls), now);
        let token = access.token.as_ref().map(|path| {
            let token = content(path, "file of the bearer token,")?;
            let token = token.trim_ascii();
            if token.is_empty() {
                return Err(format!(
                    "the file of the bearer token, {}, is empty; write a token into it",
                    path.display()
                ));
            }
            Ok(Arc::new(SecretSlice::from(token.to_vec())))
        });
        Ok(Self {
            token: token.transpose()?,
            tls: match &access.tls {
                Some(files) => Some(TlsAcceptor::from(server_config(files)?)),
                None => None,
            },
            files,
        })
    }

    /// Whether the files are still the same; looks at most once a second.
    pub(super) fn is_current(&mut self, now: Instant) -> bool {
        self.files.are_current(now)
    }
}
