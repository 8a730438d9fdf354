//! Which certificate does a Pod of the webhook serve?
//!
//! It is asked through the API server, by a port-forward, because nobody else need reach the Pod. Nothing is
//! sent to it but the beginning of a handshake, and what it answers is believed to be nothing but a
//! certificate that is to be judged.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::ApiServer;
use crate::telemetry::causes;
use crate::tls;

/// How long it may take until the certificate is there.
const TIME: Duration = Duration::from_secs(8);

/// The most certificates of a chain that are kept, and the most bytes of all of them.
const MOST: usize = 10;
const MOST_BYTES: usize = 64 << 10;

/// Returns the chain in PEM, the leaf first.
///
/// # Errors
/// A sentence that says why it was not seen.
pub(super) async fn served(
    api: &ApiServer,
    namespace: &str,
    pod: &str,
    port: u16,
    host: &str,
) -> Result<Vec<u8>, String> {
    match timeout(TIME, ask(api, namespace, pod, port, host)).await {
        Ok(done) => done,
        Err(_) => Err(format!("no answer by a port-forward within {} seconds", TIME.as_secs())),
    }
}

async fn ask(api: &ApiServer, namespace: &str, pod: &str, port: u16, host: &str) -> Result<Vec<u8>, String> {
    let pods: Api<Pod> = Api::namespaced(api.client(), namespace);
    let mut forwarder = pods.portforward(pod, &[port]).await.map_err(|error| {
        let why = match &error {
            // Its Display holds all of the answer, also what is empty.
            kube::Error::Api(status) => status.message.clone(),
            error => causes(error),
        };
        format!("a port-forward, which needs the right to create pods/portforward, is not possible: {why}")
    })?;
    let stream = forwarder.take_stream(port).ok_or("no port-forward")?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("`{host}`: {error}"))?;
    let witness = Arc::new(Witness::default());
    let connector = TlsConnector::from(Arc::new(config(&witness)?));
    let done = connector.connect(name, stream).await;
    forwarder.abort();
    match (witness.chain(), done) {
        (Some(chain), _) => Ok(chain),
        (None, Ok(_)) => Err("it serves no certificate".to_owned()),
        (None, Err(error)) => Err(format!("no handshake by a port-forward: {}", causes(&error))),
    }
}

fn config(witness: &Arc<Witness>) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(tls::provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| causes(&error))?;
    let verifier = Arc::clone(witness) as Arc<dyn ServerCertVerifier>;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Notes which certificate is shown, and refuses it: the connection is to carry nothing.
#[derive(Debug, Default)]
struct Witness(Mutex<Option<Vec<u8>>>);

impl Witness {
    fn chain(&self) -> Option<Vec<u8>> {
        self.0.lock().ok()?.take()
    }
}

/// Ends the handshake.
fn refuse<T>() -> Result<T, rustls::Error> {
    Err(rustls::Error::General("nothing is sent by this connection".to_owned()))
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).take(MOST).collect();
        if chain.iter().map(|certificate| certificate.len()).sum::<usize>() <= MOST_BYTES {
            let written = chain.iter().map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der.to_vec())));
            if let Ok(mut held) = self.0.lock() {
                *held = Some(written.collect::<String>().into_bytes());
            }
        }
        refuse()
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        refuse()
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        refuse()
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::tls::chain_check;

    #[tokio::test]
    async fn the_certificate_is_seen_although_nobody_trusts_it_and_nothing_is_sent() {
        let names = ["other.ns.svc".to_owned()];
        let pair = tls::issue::self_signed(&names, SystemTime::now(), Duration::from_hours(1)).unwrap();
        let identity = pair.identity().unwrap();
        let server = rustls::ServerConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity.key)));
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let server =
            tokio::spawn(async move { TlsAcceptor::from(Arc::new(server)).accept(theirs).await.map(drop) });
        let witness = Arc::new(Witness::default());
        let connector = TlsConnector::from(Arc::new(config(&witness).unwrap()));
        let name = ServerName::try_from("hook.ns.svc").unwrap();
        assert!(connector.connect(name, ours).await.is_err());
        assert!(server.await.unwrap().is_err(), "the handshake does not end");
        let seen = witness.chain().unwrap();
        assert_eq!(chain_check::certificates(&seen), chain_check::certificates(&pair.certificate));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_nobody_leads_to_is_not_seen_and_it_is_said_why() {
        let api = super::super::read::tests::nobody();
        let why = served(&api, "ns", "pod", 8443, "hook.ns.svc").await.unwrap_err();
        assert_eq!(why, "no answer by a port-forward within 8 seconds");
    }
}
