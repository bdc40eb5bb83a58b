//! The demo's front door: it answers a browser that asks for the page, and takes everything else to the proxy as it came.
//!
//! The proxy itself serves WebSockets and nothing else.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::secured::Secured;

/// Serves the page at `/`, and the proxy behind it everywhere else.
pub(super) async fn serve(
    listener: StdListener,
    proxy: SocketAddr,
    page: String,
    secured: Option<Arc<Secured>>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let page: Arc<str> = page.into();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(enter(stream, proxy, page.clone(), secured.clone()))),
            // A shortage passes.
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// One connection, to its end; what goes wrong on it concerns nobody else.
async fn enter(client: TcpStream, proxy: SocketAddr, page: Arc<str>, secured: Option<Arc<Secured>>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let Some(secured) = secured else {
        return visit(client, page, async || TcpStream::connect(proxy).await).await;
    };
    let client = timeout(HEAD_TIMEOUT, secured.acceptor.accept(client)).await??;
    visit(client, page, async || secured.connector.connect(secured.name(), TcpStream::connect(proxy).await?).await)
        .await
}

async fn visit<C, U>(mut client: C, page: Arc<str>, connect: impl AsyncFnOnce() -> io::Result<U>) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let head = timeout(HEAD_TIMEOUT, head(&mut client)).await??;
    if asks_for_the_page(&head) {
        let only_head = head.starts_with(b"HEAD ");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             Content-Security-Policy: {POLICY}\r\nConnection: close\r\n\r\n{}",
            page.len(),
            if only_head { "" } else { &page }
        );
        client.write_all(answer.as_bytes()).await?;
        return client.shutdown().await;
    }
    let mut upstream = connect().await?;
    upstream.write_all(&head).await?;
    upstream.flush().await?;
    copy_bidirectional(&mut client, &mut upstream).await.map(drop)
}

/// What a connection begins with: the head of its first request, if it is one.
async fn head(client: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while head.len() < MAX_HEAD && !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if client.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

/// A plain GET of `/`. A request that asks for an upgrade is the proxy's, whatever its path.
fn asks_for_the_page(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let is_page = matches!(words.next(), Some("GET" | "HEAD"))
        && words.next().is_some_and(|target| target.split('?').next() == Some("/"));
    is_page && !lines.any(|line| line.get(..8).is_some_and(|name| name.eq_ignore_ascii_case("upgrade:")))
}

/// The page loads nothing, and connects to where it came from.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 16 << 10;
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_request_for_the_root_is_for_the_page() {
        for (head, is_for_the_page) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
            ("HEAD /?from=a HTTP/1.1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\n", false),
            ("GET /chat HTTP/1.1\r\n\r\n", false),
            ("POST / HTTP/1.1\r\n\r\n", false),
            ("", false),
        ] {
            assert_eq!(asks_for_the_page(head.as_bytes()), is_for_the_page, "{head:?}");
        }
    }
}
