//! HTTP client of the hub: redirects are followed by hand, so that the token goes to the endpoint's host only, and
//! every request has a time limit.
//!
//! Time limits as in Python's `huggingface_hub`: `HF_HUB_ETAG_TIMEOUT` for an answer to begin and
//! `HF_HUB_DOWNLOAD_TIMEOUT` for the next bytes of a body, in seconds.

use std::time::Duration;

use hf_hub::Cache;
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};
use url::Url;

/// The hub that is asked where `HF_ENDPOINT` is not set.
const ENDPOINT: &str = "https://huggingface.co";

/// The number of redirects of a request.
const MAX_REDIRECTS: usize = 10;

/// The time limits where the variables are not set: for a connection and an answer, and for the next bytes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// The maximum size of the description of a repository, in bytes.
const MAX_INFO: u64 = 256 << 20;

/// A client of the hub at `HF_ENDPOINT`.
pub(super) struct Client {
    agent: Agent,
    endpoint: Url,
    token: Option<String>,
}

/// Which redirects are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// All.
    Anywhere,
    /// Those on the endpoint's host; the answer of another is returned as the redirect that it is.
    SameHost,
}

impl Client {
    /// A client by the environment: endpoint, token, time limits.
    pub(super) fn from_env() -> Result<Self, String> {
        let endpoint = std::env::var("HF_ENDPOINT").unwrap_or_else(|_| ENDPOINT.to_owned());
        let endpoint = Url::parse(endpoint.trim_end_matches('/'))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| format!("HF_ENDPOINT is no address ({endpoint})"))?;
        let token = match std::env::var("HF_TOKEN") {
            Ok(token) => Some(token),
            Err(_) => Cache::from_env().token(),
        };
        let answer = seconds("HF_HUB_ETAG_TIMEOUT", ANSWER_TIMEOUT);
        let read = seconds("HF_HUB_DOWNLOAD_TIMEOUT", READ_TIMEOUT);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("polyphony/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(answer))
            .timeout_connect(Some(answer))
            .timeout_recv_response(Some(answer))
            .timeout_per_read(Some(read));
        Ok(Self {
            agent: config.build().into(),
            endpoint,
            token: token.filter(|token| !token.is_empty()),
        })
    }

    /// The address of a path on the hub, whose parts are escaped where an address needs it.
    pub(super) fn url<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Result<Url, String> {
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| format!("{} has no paths", self.endpoint))?
            .pop_if_empty()
            .extend(parts);
        Ok(url)
    }

    /// Requests an address, from byte `from` if that is given.
    ///
    /// # Errors
    /// When there is no answer in time, it is an error, or it redirects too often or to no address.
    pub(super) fn get(
        &self,
        url: &Url,
        range: Option<&str>,
        follow: Follow,
    ) -> Result<Response<Body>, String> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(url.as_str());
            // The token is for the endpoint's host alone, whatever that redirects to.
            if let Some(token) = &self.token
                && url.origin() == self.endpoint.origin()
            {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            if let Some(range) = range {
                request = request.header(header::RANGE, range);
            }
            let response = request.call().map_err(|error| error.to_string())?;
            let status = response.status();
            if !is_redirect(status) {
                return if status.is_success() {
                    Ok(response)
                } else {
                    Err(format!("HTTP status {}", status.as_u16()))
                };
            }
            let location = text(&response, header::LOCATION.as_str());
            let next = location.and_then(|location| url.join(location).ok());
            let next = next.filter(|next| matches!(next.scheme(), "http" | "https"));
            let next = next.ok_or_else(|| format!("{url} redirects to no address"))?;
            if follow == Follow::SameHost && next.origin() != self.endpoint.origin() {
                return Ok(response);
            }
            url = next;
        }
        Err(format!("{url} redirects more than {MAX_REDIRECTS} times"))
    }

    /// Requests a JSON text.
    ///
    /// # Errors
    /// As [`Self::get`], or when the text is too long.
    pub(super) fn json(&self, url: &Url) -> Result<Vec<u8>, String> {
        let response = self.get(url, None, Follow::Anywhere)?;
        let mut body = response.into_body();
        let read = body.with_config().limit(MAX_INFO).read_to_vec();
        read.map_err(|error| error.to_string())
    }
}

/// A header of an answer, if it is text.
pub(super) fn text<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The time limit of a variable in seconds.
fn seconds(variable: &str, or: Duration) -> Duration {
    let value = std::env::var(variable).ok();
    let value = value.and_then(|text| text.parse::<f64>().ok());
    let value = value.filter(|seconds| *seconds > 0.0);
    value.map_or(or, |seconds| {
        Duration::from_secs_f64(seconds.min(f64::from(u32::MAX)))
    })
}
