//! The Prometheus page: who may read it, and whether the files for that are there.

use std::net::SocketAddr;

use super::Settling;
use crate::config::{
    endpoint,
    given::Given,
    receiver::{PageTls, PrometheusPage},
    settings_file::PageKeys,
};

impl Settling<'_> {
    /// The page at `listen`, with what the settings file says of it.
    pub(super) fn page(&mut self, listen: &Given<SocketAddr>) -> PrometheusPage {
        let none = PageKeys::default();
        let keys = self.sources.file.map_or(&none, |file| &file.page);
        let token = keys
            .token
            .as_ref()
            .and_then(|token| self.secret_file(token, None));
        let tls = self.page_tls(keys);
        let page = PrometheusPage {
            address: listen.value,
            created: keys.created,
            token,
            tls,
            hosts: self.page_hosts(keys),
        };
        self.warn_of_open_address(listen, &page);
        page
    }

    fn page_tls(&mut self, keys: &PageKeys) -> Option<PageTls> {
        let alone = |given: &Given<_>, missing: &str| {
            let message = format!("needs {missing} of the same table");
            given.origin.finding(message).remedy(format!("set {missing}"))
        };
        match (&keys.certificate, &keys.key, &keys.client_ca) {
            (Some(certificate), Some(key), client_ca) => {
                let certificate = self.secret_file(certificate, None);
                let key = self.secret_file(key, None);
                let client_ca = client_ca.as_ref().map(|file| self.secret_file(file, None));
                Some(PageTls {
                    certificate: certificate?,
                    key: key?,
                    // Without the file there are no settings at all: the fault has been noted.
                    client_ca: client_ca.flatten(),
                })
            }
            (Some(given), None, _) => {
                self.fault(alone(given, "key_file"));
                None
            }
            (None, Some(given), _) | (None, None, Some(given)) => {
                self.fault(alone(given, "certificate_file"));
                None
            }
            (None, None, None) => None,
        }
    }

    fn page_hosts(&mut self, keys: &PageKeys) -> Vec<String> {
        let mut hosts = Vec::new();
        for host in keys.hosts.iter().flat_map(|given| &given.value) {
            match endpoint::host(host) {
                Ok(host) => hosts.push(host.to_ascii_lowercase()),
                Err(error) => {
                    let fault = keys.hosts.as_ref().map(|given| given.origin.fault(&error));
                    fault.into_iter().for_each(|fault| self.fault(fault));
                }
            }
        }
        hosts
    }

    fn warn_of_open_address(&mut self, listen: &Given<SocketAddr>, page: &PrometheusPage) {
        if listen.value.ip().to_canonical().is_loopback() {
            return;
        }
        let asks_for_certificates = page.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let (message, remedy) = match (&page.token, &page.tls) {
            (None, _) if !asks_for_certificates => (
                format!(
                    "{} is no loopback address: everybody who reaches it reads the metrics",
                    listen.value
                ),
                "write 127.0.0.1 or [::1] where the scraper is on this host, or set bearer_token_file, or \
                 certificate_file, key_file and client_ca_file, in [prometheus]",
            ),
            (Some(_), None) => (
                format!(
                    "{} is no loopback address, and the token is sent in clear text: whoever reads the network \
                     reads it",
                    listen.value
                ),
                "set certificate_file and key_file in [prometheus]",
            ),
            _ => return,
        };
        self.warn(listen.origin.finding(message).remedy(remedy));
    }
}
