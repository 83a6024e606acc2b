//! JSON over HTTP: routes, wire types, server-sent events, client.
