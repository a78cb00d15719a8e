// Package peer is the program in the pods of the end-to-end tests on a node, as Go: a
// server that others connect to, and a client that connects to others when it is told to.
//
// Both ends of a stream send a byte every [Tick], whether or not they get any, and count
// those that they get: a stream that is cut in one direction only shows. Whoever may reach
// the control port tells a peer what to do and reads its counts; on a cluster that is the
// node, whose traffic with its pods no NetworkPolicy cuts.
package peer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// The ports of a peer.
const (
	DataPort    = 7000
	ControlPort = 7001
)

// Tick is the time between two bytes of an end of a stream.
const Tick = 20 * time.Millisecond

// A connection that is not answered within answerTime is taken for cut off: the kernel of the other pod answers,
// however busy its program is. That one gets more time to say its first line.
const (
	answerTime = 400 * time.Millisecond
	lineTime   = 5 * time.Second
)

// The first line of a connection says what it is for.
const (
	tryLine    = "try"
	streamLine = "stream "
)

// Stream is one end of a stream.
type Stream struct {
	Name string `json:"name"`
	// Local and Remote are the addresses: a stream that was made anew has another pair.
	Local  string `json:"local"`
	Remote string `json:"remote"`
	Dialed bool   `json:"dialed"`
	// Received is the number of bytes so far, and LongestGap the longest time without one until the last of them.
	Received   int           `json:"received"`
	LongestGap time.Duration `json:"longest_gap"`
	// Ended says why there will be no more bytes; empty while there may be.
	Ended string `json:"ended,omitempty"`
}

// Peer is the program.
type Peer struct {
	host string
	log  *slog.Logger

	mu      sync.Mutex
	streams []*Stream
}

// Run serves on both ports until the context ends.
func Run(ctx context.Context, log io.Writer) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read the name of the pod: %w", err)
	}
	p := &Peer{host: host, log: slog.New(slog.NewJSONHandler(log, nil))}
	var config net.ListenConfig
	data, err := config.Listen(ctx, "tcp", fmt.Sprintf(":%d", DataPort))
	if err != nil {
		return fmt.Errorf("serve data: %w", err)
	}
	control := &http.Server{Addr: fmt.Sprintf(":%d", ControlPort), Handler: p.control(ctx), ReadHeaderTimeout: time.Second}
	ended := context.AfterFunc(ctx, func() { _ = errors.Join(data.Close(), control.Close()) })
	defer ended()
	failed := make(chan error, 2)
	go func() { failed <- p.serve(ctx, data) }()
	go func() { failed <- control.ListenAndServe() }()
	p.log.Info("started", "host", host)
	err = <-failed
	if ctx.Err() != nil {
		p.log.Info("stopped", "host", host)
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}

func (p *Peer) serve(ctx context.Context, l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go p.welcome(ctx, c)
	}
}

// welcome answers with the name of the pod, and keeps the connection if it is for a stream.
func (p *Peer) welcome(ctx context.Context, c net.Conn) {
	reader := bufio.NewReader(c)
	line, err := firstLine(c, reader)
	// Whoever gets the answer may look for this.
	p.log.Info("connection", "from", c.RemoteAddr().String(), "for", line)
	if err == nil {
		_, err = fmt.Fprintln(c, p.host)
	}
	name, stream := strings.CutPrefix(line, streamLine)
	if err != nil || !stream {
		_ = c.Close()
		return
	}
	p.keep(ctx, &Stream{Name: name}, c, reader)
}

func firstLine(c net.Conn, reader *bufio.Reader) (string, error) {
	if err := c.SetReadDeadline(time.Now().Add(lineTime)); err != nil {
		return "", err
	}
	line, err := reader.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), errors.Join(err, c.SetReadDeadline(time.Time{}))
}

// dial connects to a peer and returns the name of the pod that answers.
func dial(ctx context.Context, to, purpose string) (host string, c net.Conn, reader *bufio.Reader, err error) {
	dialer := net.Dialer{Timeout: answerTime}
	if c, err = dialer.DialContext(ctx, "tcp", to); err != nil {
		return "", nil, nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	reader = bufio.NewReader(c)
	if _, err = fmt.Fprintln(c, purpose); err == nil {
		host, err = firstLine(c, reader)
	}
	if err != nil {
		return "", nil, nil, errors.Join(err, c.Close())
	}
	return host, c, reader, nil
}

// keep sends and counts the bytes of a stream, until it or the context ends.
func (p *Peer) keep(ctx context.Context, s *Stream, c net.Conn, reader *bufio.Reader) {
	s.Local, s.Remote = c.LocalAddr().String(), c.RemoteAddr().String()
	p.mu.Lock()
	p.streams = append(p.streams, s)
	p.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	go func() {
		ticker := time.NewTicker(Tick)
		defer ticker.Stop()
		for {
			if _, err := c.Write([]byte{'.'}); err != nil {
				cancel(err)
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	}()
	last := time.Now()
	for {
		_, err := reader.ReadByte()
		p.mu.Lock()
		if err != nil {
			s.Ended = err.Error()
			p.mu.Unlock()
			cancel(err)
			p.log.Info("stream ended", "name", s.Name, "received", s.Received, "error", err.Error())
			return
		}
		now := time.Now()
		s.Received++
		s.LongestGap = max(s.LongestGap, now.Sub(last))
		last = now
		p.mu.Unlock()
	}
}

// control is what a peer can be told over HTTP: see [Client].
func (p *Peer) control(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, p.host+"\n") })
	mux.HandleFunc("GET /streams", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		list := make([]Stream, 0, len(p.streams))
		for _, s := range slices.Backward(p.streams) {
			list = append(list, *s)
		}
		_ = json.NewEncoder(w).Encode(list)
	})
	mux.HandleFunc("POST /try", func(w http.ResponseWriter, r *http.Request) {
		host, c, _, err := dial(r.Context(), r.FormValue("to"), tryLine)
		if err == nil {
			_ = c.Close()
		}
		tell(w, host, err)
	})
	mux.HandleFunc("POST /stream", func(w http.ResponseWriter, r *http.Request) { p.stream(ctx, w, r.FormValue("to"), r.FormValue("name")) })
	return mux
}

// stream opens a stream, which outlives the request that asks for it.
func (p *Peer) stream(ctx context.Context, w http.ResponseWriter, to, name string) {
	host, c, reader, err := dial(ctx, to, streamLine+name)
	if err == nil {
		go p.keep(ctx, &Stream{Name: name, Dialed: true}, c, reader)
	}
	tell(w, host, err)
}

// answer is what a peer says of a connection it was told to make.
type answer struct {
	// Host is the name of the pod at its other end.
	Host string `json:"host"`
}

// tell says who answered, or tells a connection that could not be made from one that broke.
func tell(w http.ResponseWriter, host string, err error) {
	switch {
	case err == nil:
		_ = json.NewEncoder(w).Encode(answer{host})
	case errors.Is(err, ErrUnreachable):
		http.Error(w, err.Error(), http.StatusGatewayTimeout)
	default:
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
}
