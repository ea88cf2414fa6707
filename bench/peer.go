package bench

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// A peer is the other end of the rows' connections, in a process of its own, so that what it costs is not counted. It is
// started with its role and arguments, says on its standard output where it listens, and ends with its standard input.

// Peer starts the other end of connections: a process that runs ServePeer with these arguments.
type Peer func(ctx context.Context, args ...string) (*PeerProcess, error)

// PeerProcess is a peer that runs.
type PeerProcess struct {
	In   io.WriteCloser // its standard input: it ends with it
	Out  *bufio.Reader  // its standard output
	Wait func() error   // until it has ended
}

// StartPeer starts a command that runs ServePeer.
func StartPeer(cmd *exec.Cmd) (*PeerProcess, error) {
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &PeerProcess{In: in, Out: bufio.NewReader(out), Wait: cmd.Wait}, cmd.Start()
}

// line reads one line that the peer says.
func (p *PeerProcess) line() (string, error) {
	text, err := p.Out.ReadString('\n')
	return strings.TrimSpace(text), err
}

// ask tells the peer a line and reads its answer, which must be as given.
func (p *PeerProcess) ask(line, answer string) error {
	_, err := fmt.Fprintln(p.In, line)
	if err != nil {
		return err
	}
	text, err := p.line()
	if err == nil && text != answer {
		err = errors.New(text)
	}
	return err
}

// stop ends the peer.
func (p *PeerProcess) stop() {
	_ = p.In.Close()
	_ = p.Wait()
}

// ServePeer is a peer's life.
func ServePeer(ctx context.Context, in io.Reader, out io.Writer, args []string) error {
	if len(args) == 2 {
		switch args[0] {
		case "exchange":
			return serveAs[exchangePeer](ctx, in, out, args[1])
		case "clients":
			return serveAs[clientsPeer](ctx, in, out, args[1])
		case "asker":
			return serveAs[askerPeer](ctx, in, out, args[1])
		}
	}
	return fmt.Errorf("no such peer: %q", args)
}

// role is what a peer does until its standard input ends.
type role[T any] interface {
	*T
	serve(ctx context.Context, in io.Reader, out io.Writer) error
}

// serveAs is the life of a peer whose role has these fields.
func serveAs[T any, R role[T]](ctx context.Context, in io.Reader, out io.Writer, fields string) error {
	r := R(new(T))
	if err := json.Unmarshal([]byte(fields), r); err != nil {
		return err
	}
	return r.serve(ctx, in, out)
}

// startPeer starts a peer of a role.
func startPeer(ctx context.Context, o Options, role string, of any) (*PeerProcess, error) {
	if o.Peer == nil {
		return nil, errors.New("nothing starts the other end of connections")
	}
	text, err := json.Marshal(of)
	if err != nil {
		return nil, err
	}
	return o.Peer(ctx, role, string(text))
}

// exchangePeer sends frames on every connection, as fast as they are read, or at a rate.
type exchangePeer struct {
	TLS   bool
	Conns int     // that share the market: number n carries every Conns-th symbol from the n-th on
	Rate  float64 // trades a second over all of them; 0: as fast as they are read
}

// serve says the address, and where TLS is wanted the certificate in one line, and sends until its input ends.
func (o *exchangePeer) serve(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	address, certificate := l.Addr().String(), []byte("none")
	if o.TLS {
		pair, text, err := selfSigned()
		if err != nil {
			return err
		}
		certificate = text
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}})
	}
	said, err := json.Marshal(string(certificate))
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "%s\n%s\n", address, said); err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return nil
		}
		go func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			if err := o.feed(conn); err != nil && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				fmt.Fprintln(os.Stderr, "peer:", err)
			}
		}()
	}
}

// feed upgrades a connection, acknowledges one subscription to the symbols of one lane, and sends their frames.
func (o *exchangePeer) feed(conn net.Conn) error {
	if _, err := ws.Upgrade(conn); err != nil {
		return err
	}
	var names []string
	for {
		text, err := wsutil.ReadClientText(conn)
		if err != nil {
			return err
		}
		var asked struct {
			Params []string
			ID     int64
		}
		if err := json.Unmarshal(text, &asked); err != nil {
			return err
		}
		if err := wsutil.WriteServerText(conn, fmt.Appendf(nil, `{"result":null,"id":%d}`, asked.ID)); err != nil {
			return err
		}
		for _, stream := range asked.Params {
			symbol, _, _ := strings.Cut(stream, "@")
			names = append(names, strings.ToUpper(symbol))
		}
		if len(names) >= marketSize/o.Conns {
			break
		}
	}
	f := newFrames(names, pathFrames)
	if o.Rate > 0 {
		return f.pace(conn, o.Rate/float64(o.Conns))
	}
	for {
		for rest := f.wire; len(rest) > 0; {
			n, err := conn.Write(rest[:min(len(rest), 64<<10)])
			if err != nil {
				return nil // the reader has had enough
			}
			rest = rest[n:]
		}
		f.again()
	}
}

// pace sends one frame at a time, so many a second.
func (f *frames) pace(conn net.Conn, rate float64) error {
	began := time.Now()
	for n := 0; ; n++ {
		i := n % len(f.at)
		if i == 0 && n > 0 {
			f.again()
		}
		if wait := time.Until(began.Add(time.Duration(float64(n) / rate * float64(time.Second)))); wait > 0 {
			time.Sleep(wait)
		}
		if _, err := conn.Write(f.wire[f.at[i]-4 : f.ends[i]]); err != nil {
			return nil // the reader has had enough
		}
	}
}

// selfSigned is a certificate for this run, and its text.
func selfSigned() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
