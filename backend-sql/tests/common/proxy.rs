//! A way to a server that can fall silent, as when a cable is cut: nobody is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    silent: Arc<AtomicBool>,
}

impl Proxy {
    /// Leads to a port of this machine.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("has an address");
        let silent = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&silent);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(lead(client, port, Arc::clone(&flag)));
            }
        });
        Self { address, silent }
    }

    /// From now on nothing comes through, on any connection, in either direction.
    pub(crate) fn fall_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// From now on new connections work. What was silent stays so for ever.
    pub(crate) fn speak(&self) {
        self.silent.store(false, Ordering::SeqCst);
    }
}

async fn lead(client: TcpStream, port: u16, silent: Arc<AtomicBool>) {
    if silent.load(Ordering::SeqCst) {
        return std::future::pending().await;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::join!(
        pass(from_client, to_server, Arc::clone(&silent)),
        pass(from_server, to_client, silent)
    );
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    silent: Arc<AtomicBool>,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        // Looks up from waiting, to notice that silence fell.
        let read = tokio::time::timeout(Duration::from_millis(20), from.read(&mut bytes)).await;
        if silent.load(Ordering::SeqCst) {
            // Held open, never answered.
            return std::future::pending().await;
        }
        match read {
            Err(_) => {}
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(length)) => {
                if to.write_all(&bytes[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
