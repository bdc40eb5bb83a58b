//! A socket that carries a stream, of TCP or a unix one, read and written with bare system calls.
//!
//! The C library makes every `recv` and `send` of a process with threads a cancellation point, which costs more than the
//! walk over a small frame. A read or write that was short has emptied or filled the socket, so the next one waits for
//! the kernel's word instead of asking in vain.

use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::addr::SocketAddrArg;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Port;

/// A socket of this thread. It belongs to one task at a time: only the last that waited for it is woken.
#[derive(Debug)]
pub struct Socket {
    stream: OwnedFd,
    port: Port,
}

impl Socket {
    /// A connected socket, which must not block.
    pub fn new(stream: impl Into<OwnedFd>) -> Self {
        Self { stream: stream.into(), port: Port::new() }
    }

    /// Connects over TCP. Dropping the future closes the socket.
    ///
    /// # Errors
    /// When nobody takes the connection there, or the system gives no further socket.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        Self::connect_to(family, &address).await
    }

    /// Connects to the unix socket of a file. Dropping the future closes the socket.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect), and `WouldBlock` when as many wait there as may.
    pub async fn connect_unix(file: &Path) -> io::Result<Self> {
        Self::connect_to(AddressFamily::UNIX, &SocketAddrUnix::new(file)?).await
    }

    async fn connect_to(family: AddressFamily, address: &impl SocketAddrArg) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let stream = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&stream, address) {
            Ok(()) => return Ok(Self::new(stream)),
            // Also one that is interrupted goes on.
            Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let socket = Self { stream, port: Port::of_connecting() };
        poll_fn(|context| socket.port.poll_write(&socket.stream, context)).await?;
        match socket.port.is_broken() {
            true => socket.system().take_error()?.map_or(Ok(socket), Err),
            false => Ok(socket),
        }
    }

    /// The stream, for whoever has no loop.
    pub fn into_stream(self) -> OwnedFd {
        self.port.leave(&self.stream);
        self.stream
    }

    /// Where the other end has connected to, if it did; `None` of a unix socket, and when the system does not tell.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.system().local_addr().ok()?.as_socket()
    }

    /// Waits until there may be something to read. Cancel safe.
    ///
    /// # Errors
    /// When the system refuses to watch a further socket.
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|context| self.port.poll_read(&self.stream, context)).await
    }

    /// Whether there may be something to read, or an error to get; otherwise the task is woken when there may be.
    #[inline]
    pub fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        self.port.poll_read(&self.stream, context).map(drop)
    }

    /// Reads what there is; `None` when there is nothing for now, and zero at the end.
    ///
    /// # Errors
    /// When the connection is broken.
    #[inline]
    pub fn read_now(&self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        let room = bytes.len();
        match retry_on_intr(|| recv(&self.stream, &mut *bytes, RecvFlags::empty())) {
            Ok((count, _)) => {
                if (1..room).contains(&count) {
                    self.port.drained();
                }
                Ok(Some(count))
            }
            Err(Errno::AGAIN) => {
                self.port.empty();
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what there is, zero at the end; otherwise the task is woken when there may be something.
    ///
    /// # Errors
    /// When the connection is broken.
    #[inline]
    pub fn poll_receive(&self, context: &Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.port.poll_read(&self.stream, context))?;
            if let Some(count) = self.read_now(bytes)? {
                return Poll::Ready(Ok(count));
            }
        }
    }

    /// Looks at what has come, and leaves it to be read; zero at the end. Otherwise the task is woken when there may be
    /// something.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn poll_peek(&self, context: &Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.port.poll_read(&self.stream, context))?;
            match retry_on_intr(|| recv(&self.stream, &mut *bytes, RecvFlags::PEEK)) {
                Ok((count, _)) => return Poll::Ready(Ok(count)),
                Err(Errno::AGAIN) => self.port.empty(),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Has the next look, or read, wait until more has come than the last one has seen.
    pub fn await_more(&self) {
        self.port.drained();
    }

    /// Writes what the socket takes of these bytes; otherwise the task is woken when it may take some.
    ///
    /// # Errors
    /// When the connection is broken.
    #[inline]
    pub fn poll_send(&self, context: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.port.poll_write(&self.stream, context))?;
            match retry_on_intr(|| send(&self.stream, bytes, SendFlags::NOSIGNAL)) {
                Ok(count) => {
                    if count < bytes.len() {
                        self.port.filled();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::AGAIN) => self.port.filled(),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Ends our sending half, behind what was written.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn finish(&self) -> io::Result<()> {
        self.system().shutdown(Shutdown::Write)
    }

    /// Whether the other end sends nothing more, told without reading what is left of what it has sent; otherwise the
    /// task is woken when that changes.
    ///
    /// # Errors
    /// When the connection is broken: nothing comes and nothing goes.
    pub fn poll_end(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        if self.port.is_broken() {
            // A write may have taken the error already.
            let error = self.system().take_error().ok().flatten();
            return Poll::Ready(Err(error.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())));
        }
        self.port.poll_ended(&self.stream, context)
    }

    /// What is asked and told of it beside what it carries.
    fn system(&self) -> SockRef<'_> {
        SockRef::from(&self.stream)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.port.poll_read(&self.stream, context))?;
            // Room that was never written is not cleared before the kernel writes it.
            #[expect(unsafe_code, reason = "a buffer does not take the word of a system call")]
            // SAFETY: nothing is put there but by the kernel, so what was initialized stays so.
            let room = unsafe { buffer.unfilled_mut() };
            let (count, is_full) = match recv(&self.stream, room, RecvFlags::empty()) {
                Ok(((read, rest), _)) => (read.len(), rest.is_empty()),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    self.port.empty();
                    continue;
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            };
            if count > 0 && !is_full {
                self.port.drained();
            }
            #[expect(unsafe_code, reason = "a buffer does not take the word of a system call")]
            // SAFETY: the kernel has written so many bytes at the start of the room.
            unsafe {
                buffer.assume_init(count);
            }
            buffer.advance(count);
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.finish())
    }
}
