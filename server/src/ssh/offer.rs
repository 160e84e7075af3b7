//! What a client is offered, and every setting of the SSH library with its reason.
//!
//! # Ciphers
//!
//! AES-GCM takes 0.42 of the server CPU of ChaCha20-Poly1305, but the client's order decides, and
//! OpenSSH puts ChaCha20 first. So a client that has AES-GCM is offered nothing else, where this
//! processor has AES instructions. Which client has it is not guessed from its name: OpenSSH sends
//! its list without waiting for ours, and the list is read before ours goes out ([`preamble`]). A
//! client whose administrator left only `aes256-ctr` gets `aes256-ctr`.
//!
//! A client without AES instructions (a small ARM board) is slower with AES-GCM than it would be
//! with ChaCha20; `server.ciphers` overrides the choice for everybody.
//!
//! [`preamble`]: super::preamble

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};
use russh::server::Config as LibraryConfig;
use russh::{Limits, MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};

use super::Problem;
use super::preamble::Preamble;
use super::window;

/// Our identification line, without its end.
pub(super) const SERVER_ID: &str = concat!("SSH-2.0-coffre_", env!("CARGO_PKG_VERSION"));

/// The ciphers there are, in the order of the full offer; `server.ciphers` picks from these.
pub const CIPHERS: &[&str] = &[
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
];

/// Those of [`CIPHERS`] that a client is held to when it has one of them.
const FAST: &[&str] = &["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"];

/// Post-quantum first, then what everybody has. Group 16 and 14 are for clients whose policy
/// forbids curve25519 (FIPS mode). Not offered: SHA-1, groups that cost more than they give, and
/// group exchange (a client names the size, the server computes).
const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    // Strict key exchange, against prefix truncation (Terrapin).
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

/// With `legacy_ssh`, after [`KEX`]: the NIST curves are all that some clients from before 2013 have
/// beside SHA-1, and group 14 with SHA-1 is what every client has. Group 1 (1024 bits) and group
/// exchange stay away.
const LEGACY_KEX: &[kex::Name] = &[
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_G14_SHA1,
];

/// With `legacy_ssh`, after [`MAC`]. HMAC does not suffer from what is wrong with SHA-1.
const LEGACY_MAC: &[mac::Name] = &[mac::HMAC_SHA1_ETM, mac::HMAC_SHA1];

/// With `legacy_ssh`, after [`KEYS`]: signatures with SHA-1, all that OpenSSH before 7.2 makes with
/// an RSA key.
const LEGACY_KEYS: &[Algorithm] = &[Algorithm::Rsa { hash: None }];

/// Used with the counter-mode ciphers only.
const MAC: &[mac::Name] = &[
    mac::HMAC_SHA256_ETM,
    mac::HMAC_SHA512_ETM,
    mac::HMAC_SHA256,
    mac::HMAC_SHA512,
];

/// Key algorithms: those we have a host key of are offered for the host, and all are announced to
/// the client for its own key (`server-sig-algs`; OpenSSH does not even try a key of a type that
/// is not announced). `ssh-rsa`, which is SHA-1, is missing, so it is neither.
const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::SkEd25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::SkEcdsaSha2NistP256,
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

/// Largest packet a client may send. RFC 4253 asks for 32 KiB; OpenSSH uses what it is given.
const MAX_PACKET_BYTES: u32 = 64 * 1024;

/// Failed authentication requests of a connection. Keys cannot be guessed, so this is not about
/// safety but about clients whose agent offers a dozen keys before the right one; sshd's limit of
/// six is a well-known annoyance. The first request of every client (`none`) counts as well.
const MAX_AUTH_ATTEMPTS: usize = 20;

/// Signs of life: a client that answers none for about this long is gone.
const DEAD_AFTER: Duration = Duration::from_secs(130);

/// The library's configurations for the connections of one tenant.
pub(super) struct Offers {
    /// For clients that have a fast cipher; `None` where it would be no gain.
    fast: Option<Arc<LibraryConfig>>,
    full: Arc<LibraryConfig>,
}

impl Offers {
    /// `legacy` is the tenant's `legacy_ssh`.
    pub(super) fn new(
        ciphers: &Ciphers,
        login_grace: Duration,
        keys: Vec<PrivateKey>,
        legacy: bool,
    ) -> Self {
        let library = |ciphers: &[cipher::Name]| {
            let mut config = library_config(keys.clone(), ciphers.to_vec(), login_grace);
            if legacy {
                let preferred = &mut config.preferred;
                preferred.kex = [KEX, LEGACY_KEX].concat().into();
                preferred.mac = [MAC, LEGACY_MAC].concat().into();
                preferred.key = [KEYS, LEGACY_KEYS].concat().into();
            }
            Arc::new(config)
        };
        Self {
            fast: ciphers.fast.as_deref().map(library),
            full: library(&ciphers.full),
        }
    }

    /// Whether it is worth waiting for the client's own list.
    pub(super) fn depend_on_client(&self) -> bool {
        self.fast.is_some()
    }

    /// The offer for the client that began like this.
    pub(super) fn choose(&self, preamble: &Preamble) -> Arc<LibraryConfig> {
        match &self.fast {
            Some(fast) if preamble.has_cipher(FAST) => Arc::clone(fast),
            _ => Arc::clone(&self.full),
        }
    }
}

/// The ciphers of [`Offers`].
pub(super) struct Ciphers {
    fast: Option<Vec<cipher::Name>>,
    full: Vec<cipher::Name>,
}

impl Ciphers {
    /// `configured` is `server.ciphers`.
    pub(super) fn new(configured: Option<&[String]>, problems: &mut Vec<Problem>) -> Self {
        let mut known = |name: &str| match known_cipher(name) {
            Ok(name) => Some(name),
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        match configured {
            Some(names) => {
                let full: Vec<_> = names.iter().filter_map(|name| known(name)).collect();
                if names.is_empty() {
                    problems.push(Problem::NoCipher);
                }
                Self { fast: None, full }
            }
            None => Self {
                fast: aes_instructions()
                    .then(|| FAST.iter().filter_map(|name| known(name)).collect()),
                full: CIPHERS.iter().filter_map(|name| known(name)).collect(),
            },
        }
    }
}

/// A name of [`CIPHERS`] as the library has it. The library knows more, down to `none`.
fn known_cipher(name: &str) -> Result<cipher::Name, Problem> {
    CIPHERS
        .contains(&name)
        .then(|| cipher::Name::try_from(name).ok())
        .flatten()
        .ok_or_else(|| Problem::Cipher(coffre_protocol::error::escape(name.as_bytes())))
}

fn library_config(
    host_keys: Vec<PrivateKey>,
    ciphers: Vec<cipher::Name>,
    login_grace: Duration,
) -> LibraryConfig {
    let (keepalive_interval, keepalive_max) = signs_of_life(login_grace);
    LibraryConfig {
        server_id: SshId::Standard(Cow::Borrowed(SERVER_ID)),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        // No wait after a refusal. It hides how long a password check takes; whether a public key
        // is known is no secret here (the answer to a probe says it), and a client with several
        // keys would pay it for each.
        auth_rejection_time: Duration::ZERO,
        // The first request of every client asks which methods there are and is always refused.
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: host_keys,
        certificates: Vec::new(),
        // New keys after 1 GiB each way or an hour: the most the library allows, and what RFC 4253
        // section 9 recommends. Costs about 20 ms per GiB.
        limits: Limits::default(),
        window_size: window::NEAR,
        maximum_packet_size: MAX_PACKET_BYTES,
        // Queue between the library and its `Channel`, which we drop at once: input goes from the
        // callback into the session's pipe.
        channel_buffer_size: 1,
        // Messages from our tasks to the connection, of at most `channel::MAX_MESSAGE_BYTES` each.
        // Output beyond these stays in the pipe, where the session sees it as backlog.
        event_buffer_size: 10,
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            key: Cow::Borrowed(KEYS),
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: Cow::Owned(ciphers),
            mac: Cow::Borrowed(MAC),
            // rsync has its own, and the library's was a way to exhaust memory (CVE-2026-46702).
            compression: Cow::Borrowed(&[compression::NONE]),
        },
        max_auth_attempts: MAX_AUTH_ATTEMPTS,
        // None: a client that scans its disk says nothing for an hour and is alive. Dead ones are
        // found by signs of life, stuck writes and farewells by `stream`.
        inactivity_timeout: None,
        keepalive_interval: Some(keepalive_interval),
        keepalive_max,
        // For the library's own accept loop, which is not used; see `listener`.
        nodelay: true,
    }
}

/// Interval and number of unanswered requests for a sign of life.
///
/// The library sends them before the login as well, and OpenSSH ends the connection at one
/// ("bad message during authentication"), for example while its user looks for a passphrase. So
/// the interval is longer than the time a login may take.
fn signs_of_life(login_grace: Duration) -> (Duration, usize) {
    let interval = (login_grace + Duration::from_secs(5)).max(Duration::from_secs(30));
    let unanswered = DEAD_AFTER.as_secs() / interval.as_secs();
    (
        interval,
        usize::try_from(unanswered)
            .map_or(1, |n| n.saturating_sub(1))
            .max(1),
    )
}

/// Whether this processor has what makes AES-GCM fast.
fn aes_instructions() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq")
    }
    #[cfg(target_arch = "aarch64")]
    {
        std::arch::is_aarch64_feature_detected!("aes")
            && std::arch::is_aarch64_feature_detected!("pmull")
    }
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sign_of_life_is_asked_for_during_a_login() {
        for grace in [1, 10, 30, 60, 120, 600].map(Duration::from_secs) {
            let (interval, unanswered) = signs_of_life(grace);
            assert!(interval > grace);
            assert!(unanswered >= 1);
        }
        let (interval, unanswered) = signs_of_life(Duration::from_secs(60));
        assert!(interval * (unanswered as u32 + 1) <= DEAD_AFTER);
    }

    #[test]
    fn every_cipher_of_the_list_is_one_and_no_other_name_is() {
        for name in CIPHERS {
            assert_eq!(known_cipher(name).unwrap().as_ref(), *name);
        }
        let mut problems = Vec::new();
        Ciphers::new(Some(&[]), &mut problems);
        assert!(matches!(problems[..], [Problem::NoCipher]));
        for name in ["none", "clear", "aes128-cbc", "3des-cbc", "rot13", ""] {
            let message = known_cipher(name).unwrap_err().to_string();
            assert!(message.starts_with("unknown cipher"), "{message}");
        }
    }
}
