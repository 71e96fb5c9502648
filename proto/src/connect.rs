//! TCP connections to a host with several addresses, for nodes and clients.

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;

/// Bounds of an attempt to connect.
#[derive(Clone, Copy, Debug)]
pub struct ConnectLimits {
    /// Timeout of the name lookup.
    pub lookup_max: Duration,
    /// Maximum number of addresses of a name that are tried.
    pub addresses_max_count: usize,
    /// Head start of an address before the next one is tried too.
    pub attempt_delay: Duration,
}

/// Connects to `host:port`. All addresses of the host are tried side by side.
///
/// # Errors
///
/// The host name cannot be looked up in time, or no address accepts a connection. The caller may
/// retry.
pub async fn connect_tcp(address: &str, limits: ConnectLimits) -> io::Result<TcpStream> {
    let ConnectLimits {
        lookup_max,
        addresses_max_count,
        attempt_delay,
    } = limits;
    let lookup = tokio::time::timeout(lookup_max, tokio::net::lookup_host(address));
    let found = lookup.await.map_err(|_| io::ErrorKind::TimedOut)??;
    let attempts = found.take(addresses_max_count).map(TcpStream::connect);
    let connected = staggered(attempts, attempt_delay).await;
    connected.unwrap_or_else(|| Err(io::ErrorKind::AddrNotAvailable.into()))
}

/// Makes attempts side by side (RFC 8305, section 5): the next one starts when the former one has
/// failed, or has not succeeded within `delay`. The first success counts and ends
/// the others; the last error is returned if all fail, and `None` if there are no attempts.
pub async fn staggered<T, E, F>(
    attempts: impl IntoIterator<Item = F>,
    delay: Duration,
) -> Option<Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = attempts.into_iter();
    let mut running = FuturesUnordered::new();
    let mut failed = None;
    let mut next = waiting.next();
    loop {
        if let Some(attempt) = next.take() {
            running.push(attempt);
            next = waiting.next();
        }
        tokio::select! {
            ended = running.next() => match ended {
                Some(Ok(connected)) => return Some(Ok(connected)),
                Some(Err(error)) => failed = Some(Err(error)),
                None => return failed,
            },
            () = tokio::time::sleep(delay), if next.is_some() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use tokio::time::{Instant, sleep};

    use super::*;

    const DELAY: Duration = Duration::from_millis(200);

    type Attempt = Pin<Box<dyn Future<Output = Result<u8, u8>> + Send>>;

    fn after(ms: u64, result: Result<u8, u8>) -> Attempt {
        Box::pin(async move {
            sleep(Duration::from_millis(ms)).await;
            result
        })
    }

    fn black_hole() -> Attempt {
        Box::pin(std::future::pending())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_never_answers_costs_less_than_300_ms() {
        let begun = Instant::now();
        let connected = staggered([black_hole(), after(5, Ok(2))], DELAY).await;
        assert_eq!(connected, Some(Ok(2)));
        assert!(
            begun.elapsed() < Duration::from_millis(300),
            "{:?}",
            begun.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_address_costs_nothing_and_the_first_success_counts() {
        let begun = Instant::now();
        let connected =
            staggered([after(0, Err(1)), after(0, Err(2)), after(1, Ok(3))], DELAY).await;
        assert_eq!(connected, Some(Ok(3)));
        assert!(
            begun.elapsed() < Duration::from_millis(50),
            "{:?}",
            begun.elapsed()
        );
        let slow_first = staggered([after(250, Ok(1)), after(500, Ok(2))], DELAY).await;
        assert_eq!(slow_first, Some(Ok(1)), "an attempt under way goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_success_the_last_error_is_returned() {
        let failed = staggered([after(900, Err(1)), after(0, Err(2))], DELAY).await;
        assert_eq!(failed, Some(Err(1)), "the last one to fail");
        assert_eq!(staggered(std::iter::empty::<Attempt>(), DELAY).await, None);
    }
}
