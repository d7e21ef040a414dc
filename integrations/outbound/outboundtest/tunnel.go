// Package outboundtest is the part of an HTTP proxy that tests share.
package outboundtest

import (
	"context"
	"io"
	"net"
	"net/http"
)

// Tunnel answers a CONNECT (RFC 9110, section 9.3.6): it copies bytes between the caller and the
// TCP address to, until both ends are closed. If it can't connect it answers 502.
func Tunnel(ctx context.Context, w http.ResponseWriter, to string) {
	out, err := new(net.Dialer).DialContext(ctx, "tcp", to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer func() { _ = out.Close() }()
	in, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = in.Close() }()
	_, _ = io.WriteString(in, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(out, in) }()
	_, _ = io.Copy(in, out)
}
