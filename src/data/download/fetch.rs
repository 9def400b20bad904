//! Fetches a file over HTTP in as many attempts as it takes.

use super::{DownloadError, DownloadEvent, MOST_BYTES, PartialArchive, RetryPolicy, Source};
use crate::data::DataError;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};
use ureq::http::{Response, StatusCode, Uri, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

/// Bytes of new data after which earlier failures no longer count.
const NEW_BYTES: u64 = 1 << 20;
/// Time between two events of received bytes.
const EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// Longest pause before a retry.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest time that is waited for data: longer ones overflow clocks.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(86_400);

/// Why an attempt ended.
enum Failure {
    /// It may be better next time.
    Passing(DownloadError),
    /// It will not.
    Lasting(DownloadError),
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        Failure::Lasting(error)
    }
}

/// Completes `archive`, after the bytes that it has.
pub(super) fn fetch(
    source: &Source,
    archive: &mut PartialArchive,
    policy: &RetryPolicy,
    on_event: &mut dyn FnMut(DownloadEvent<'_>),
) -> Result<(), DownloadError> {
    let timeout = Some(policy.timeout.min(LONGEST_TIMEOUT));
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("cifar-gpu/", env!("CARGO_PKG_VERSION")))
        // The certificates that the system trusts, among which are those of a company's proxy.
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .proxy(proxy(&source.url)?)
        .timeout_connect(timeout)
        .timeout_recv_response(timeout)
        .timeout_per_read(timeout);
    let agent = Agent::new_with_config(config.build());
    let (mut failures, mut most) = (0, archive.len()?);
    loop {
        let mut attempt = Attempt { source, archive, policy, on_event };
        let error = match attempt.run(&agent) {
            Ok(true) => return Ok(()),
            Ok(false) => continue,
            Err(Failure::Lasting(error)) => return Err(error),
            Err(Failure::Passing(error)) => error,
        };
        let received = archive.len()?;
        if received >= most + NEW_BYTES {
            (failures, most) = (0, received);
        }
        if failures == policy.retries {
            return Err(error);
        }
        let pause = policy.pause.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
        failures += 1;
        on_event(DownloadEvent::Retry { error: &error, pause });
        std::thread::sleep(pause);
    }
}

/// The proxy of the environment for an address: that of its scheme, or else that of all.
fn proxy(url: &str) -> Result<Option<Proxy>, DownloadError> {
    let bad = |message: String| DownloadError::Address { url: url.to_owned(), message };
    let uri: Uri = url.parse().map_err(|error| bad(format!("{error}")))?;
    let of_scheme =
        if uri.scheme_str() == Some("https") { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let names = of_scheme.into_iter().chain(["ALL_PROXY", "all_proxy"]);
    let named =
        names.filter_map(|name| Some((name, std::env::var(name).ok().filter(|value| !value.is_empty())?))).next();
    let Some((name, value)) = named else { return Ok(None) };
    // This reads NO_PROXY, too.
    if Proxy::try_from_env().is_some_and(|any| any.is_no_proxy(&uri)) {
        return Ok(None);
    }
    Proxy::new(&value).map(Some).map_err(|error| bad(format!("{name}={value}: {error}")))
}

struct Attempt<'a> {
    source: &'a Source,
    archive: &'a mut PartialArchive,
    policy: &'a RetryPolicy,
    on_event: &'a mut dyn FnMut(DownloadEvent<'_>),
}

impl Attempt<'_> {
    /// Requests what is missing; whether the archive is complete then.
    fn run(&mut self, agent: &Agent) -> Result<bool, Failure> {
        let mut have = self.archive.len()?;
        match self.source.bytes {
            Some(bytes) if have == bytes => return Ok(true),
            Some(bytes) if have > bytes => have = self.restart()?,
            _ => {}
        }
        let mut request = agent.get(&self.source.url);
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
        }
        let response = request.call().map_err(|error| self.failure(error))?;
        let url = || self.source.url.clone();
        let range = ContentRange::of(&response);
        let length = response.body().content_length();
        match (response.status(), range) {
            (StatusCode::OK, _) => {
                let is_page =
                    header_text(&response, header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
                if is_page && self.source.bytes.is_none() {
                    return Err(Failure::Lasting(DownloadError::WebPage { url: url() }));
                }
                // Before anything that has arrived is dropped for it.
                self.check_size(length)?;
                if have > 0 {
                    have = self.restart()?;
                }
                self.receive(response.into_body(), have, length.or(self.source.bytes))
            }
            (StatusCode::PARTIAL_CONTENT, Some(ContentRange { first: Some(first), total })) if first == have => {
                self.check_size(total)?;
                (self.on_event)(DownloadEvent::Resumed(have));
                self.receive(response.into_body(), have, total.or(self.source.bytes))
            }
            // The archive was complete already.
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(ContentRange { total: Some(total), .. })) if total == have => {
                Ok(true)
            }
            (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) if have > 0 => {
                self.restart()?;
                let message = "the server does not resume where the download ended".to_owned();
                Err(Failure::Passing(DownloadError::Connection { url: url(), message }))
            }
            (status, _) => {
                let error = DownloadError::Status { url: url(), status: status.as_u16() };
                let may_pass = status.is_server_error()
                    || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
                Err(if may_pass { Failure::Passing(error) } else { Failure::Lasting(error) })
            }
        }
    }

    /// Drops what has arrived.
    fn restart(&mut self) -> Result<u64, DownloadError> {
        (self.on_event)(DownloadEvent::Restarted);
        self.archive.clear()?;
        Ok(0)
    }

    /// Checks a size of the whole archive that the server gives.
    fn check_size(&self, total: Option<u64>) -> Result<(), DownloadError> {
        let url = || self.source.url.clone();
        match (total, self.source.bytes) {
            (Some(found), Some(expected)) if found != expected => {
                Err(DownloadError::WrongSize { url: url(), expected, found })
            }
            (Some(found), _) if found > MOST_BYTES => Err(DownloadError::TooLarge { url: url(), limit: MOST_BYTES }),
            _ => Ok(()),
        }
    }

    /// Writes a body after the first `have` bytes; whether the archive is complete then: a server may send less than is requested.
    fn receive(&mut self, body: Body, mut have: u64, total: Option<u64>) -> Result<bool, Failure> {
        let (most, url) = (total.unwrap_or(MOST_BYTES), self.source.url.clone());
        let path = self.archive.path.clone();
        let unwritten = |error: io::Error| DownloadError::from(DataError::io("write", &path)(error));
        self.archive.file.seek(SeekFrom::Start(have)).map_err(unwritten)?;
        let begun_at = have;
        let mut reader = body.into_reader();
        let mut buffer = vec![0; 1 << 16];
        let mut shown: Option<Instant> = None;
        loop {
            let read = reader.read(&mut buffer).map_err(|error| self.failure(error.into()))?;
            if read == 0 {
                break;
            }
            have += read as u64;
            if have > most {
                self.archive.clear()?;
                return Err(Failure::Lasting(match total {
                    Some(expected) => DownloadError::WrongSize { url, expected, found: have },
                    None => DownloadError::TooLarge { url, limit: MOST_BYTES },
                }));
            }
            self.archive.file.write_all(&buffer[..read]).map_err(unwritten)?;
            if shown.is_none_or(|shown| shown.elapsed() >= EVENT_INTERVAL) {
                shown = Some(Instant::now());
                (self.on_event)(DownloadEvent::Received { bytes: have, total });
            }
        }
        (self.on_event)(DownloadEvent::Received { bytes: have, total });
        if have == begun_at && total != Some(have) {
            let message = format!("the connection ended after {have} bytes");
            return Err(Failure::Passing(DownloadError::Connection { url, message }));
        }
        self.archive.file.sync_all().map_err(unwritten)?;
        Ok(total.is_none_or(|total| have == total))
    }

    fn failure(&self, error: ureq::Error) -> Failure {
        use ureq::Error as E;
        let url = self.source.url.clone();
        match error {
            E::Timeout(_) => Failure::Passing(DownloadError::Stalled { url, seconds: self.policy.timeout.as_secs() }),
            E::HostNotFound => Failure::Lasting(DownloadError::UnknownHost { url }),
            E::Io(error) if is_lookup(&error) => Failure::Lasting(DownloadError::UnknownHost { url }),
            E::Io(error) if is_certificate(&error) => {
                Failure::Lasting(DownloadError::Certificate { url, message: error.to_string() })
            }
            // The proxy wants a password, or does not reach that server.
            E::ConnectProxyFailed(message) if ["407", "403"].iter().any(|status| message.contains(status)) => {
                Failure::Lasting(DownloadError::Proxy { url, message })
            }
            E::Io(_) | E::ConnectionFailed | E::Protocol(_) | E::ConnectProxyFailed(_) | E::BodyStalled => {
                Failure::Passing(DownloadError::Connection { url, message: error.to_string() })
            }
            E::TooManyRedirects | E::RedirectFailed => {
                Failure::Lasting(DownloadError::Redirects { url, message: error.to_string() })
            }
            other => Failure::Lasting(DownloadError::Address { url, message: other.to_string() }),
        }
    }
}

/// Whether an error is that of looking up a server's name, which the standard library tells by its text only.
fn is_lookup(error: &io::Error) -> bool {
    error.to_string().starts_with("failed to lookup address information")
}

/// Whether an error is that of a certificate, which rustls puts into one of the system's; other damage may pass.
fn is_certificate(error: &io::Error) -> bool {
    error.to_string().starts_with("invalid peer certificate")
}

fn header_text(response: &Response<Body>, name: header::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// What a server says of the range that it sends: `bytes 5000-8999/170052171`, or `bytes */170052171` if it has none.
#[derive(Debug, PartialEq, Eq)]
struct ContentRange {
    first: Option<u64>,
    total: Option<u64>,
}

impl ContentRange {
    fn of(response: &Response<Body>) -> Option<Self> {
        Self::parse(header_text(response, header::CONTENT_RANGE)?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let first = range.split('-').next()?.trim().parse().ok();
        Some(ContentRange { first, total: total.trim().parse().ok() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_writes_them() {
        let parsed = |text| ContentRange::parse(text).map(|range| (range.first, range.total));
        assert_eq!(parsed("bytes 42-1233/1234"), Some((Some(42), Some(1234))));
        assert_eq!(parsed("bytes 42-1233/*"), Some((Some(42), None)));
        assert_eq!(parsed("bytes */1234"), Some((None, Some(1234))));
        assert_eq!((parsed("lines 1-2/3"), parsed("bytes 1-2")), (None, None));
    }
}
