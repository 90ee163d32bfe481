//! Watches as streams, for the combinators of an async runtime.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::stream::FusedStream;

use super::{ByteWatch, Event, Watch};
use crate::codec::{Key, Value};
use crate::error::Result;

impl Stream for ByteWatch {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let event = ready!(self.poll_recv(context));
        Poll::Ready(self.unless_ended(event))
    }
}

impl FusedStream for ByteWatch {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl<K: Key, V: Value> Stream for Watch<K, V> {
    type Item = Result<Event<K, V>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.bytes.ended {
            return Poll::Ready(None);
        }
        let event = ready!(self.poll_recv(context));
        Poll::Ready(self.bytes.unless_ended(event))
    }
}

impl<K: Key, V: Value> FusedStream for Watch<K, V> {
    fn is_terminated(&self) -> bool {
        self.bytes.ended
    }
}
