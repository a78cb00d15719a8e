// Package page serves the page of the local run: static files from the program itself,
// a stream of what happens, and the two requests behind its buttons.
//
// Only this machine can open it, and only the page itself can press its buttons. The
// Host header must name a loopback address with our port, so that no foreign name can
// be led here (DNS rebinding); a POST must carry the page's own Origin and be JSON, so
// that no other site can make the browser send one. The content security policy allows
// nothing but the page's own files.
package page

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"time"
)

//go:embed static
var static embed.FS

const (
	policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	maxBody = 16 << 10
	// heartbeat keeps a quiet stream open, and shows a page that it has lost us.
	heartbeat = 10 * time.Second
)

// Order is what a button asks for.
type Order struct {
	// Alert is the id of one of the alerts that can be sent.
	Alert string `json:"alert"`
	// Pod is the pod to aim at, as namespace/name; empty lets us choose.
	Pod string `json:"pod"`
}

// RefusedError is an order that cannot be carried out, in words for the page.
type RefusedError struct{ Reason string }

// Error returns the reason.
func (e *RefusedError) Error() string { return e.Reason }

// Actions are what the buttons do.
type Actions struct {
	// Send sends one alert.
	Send func(context.Context, Order) error
	// Attack starts the series of alerts. It returns when the series has started.
	Attack func(context.Context) error
}

// Page is the page that is served.
type Page struct {
	hub     *Hub
	actions Actions
	server  *http.Server
	port    string
	address string
}

// Listen serves the page on loopback. Port 0 takes any.
func Listen(ctx context.Context, port int, hub *Hub, actions Actions) (*Page, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("serve the page: %w", err)
	}
	p := &Page{hub: hub, actions: actions, address: listener.Addr().String()}
	if _, p.port, err = net.SplitHostPort(p.address); err != nil {
		return nil, errors.Join(fmt.Errorf("serve the page: %w", err), listener.Close())
	}
	handler, err := p.handler()
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	p.server = &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = p.server.Serve(listener) }() // Ends with Close.
	return p, nil
}

// URL is where the page is.
func (p *Page) URL() string { return "http://" + p.address + "/" }

// Close ends the page and every stream.
func (p *Page) Close() error {
	p.hub.Close()
	return p.server.Close()
}

func (p *Page) handler() (http.Handler, error) {
	files, err := fs.Sub(static, "static")
	if err != nil {
		return nil, fmt.Errorf("serve the page: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /events", p.events)
	mux.HandleFunc("POST /send", p.send)
	mux.HandleFunc("POST /attack", p.attack)
	return p.guard(mux), nil
}

// guard lets in requests of this machine and buttons of this page.
func (p *Page) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		if !p.ours(r.Host) {
			http.Error(w, "this page answers to the address of this machine only", http.StatusForbidden)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			if r.Header.Get("Origin") != "http://"+r.Host {
				http.Error(w, "only the page itself may do this", http.StatusForbidden)
				return
			}
			if r.Header.Get("Content-Type") != "application/json" {
				http.Error(w, "the body must be application/json", http.StatusUnsupportedMediaType)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (p *Page) ours(host string) bool {
	name, port, err := net.SplitHostPort(host)
	if err != nil || port != p.port {
		return false
	}
	return name == "localhost" || name == "127.0.0.1"
}

func (p *Page) send(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		answer(w, http.StatusRequestEntityTooLarge, "the body is too large")
		return
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	var order Order
	if err := decoder.Decode(&order); err != nil {
		answer(w, http.StatusBadRequest, "the body is no order: "+err.Error())
		return
	}
	finish(w, p.actions.Send(r.Context(), order))
}

func (p *Page) attack(w http.ResponseWriter, r *http.Request) {
	finish(w, p.actions.Attack(r.Context()))
}

func finish(w http.ResponseWriter, err error) {
	var refused *RefusedError
	switch {
	case err == nil:
		answer(w, http.StatusAccepted, "")
	case errors.As(err, &refused):
		answer(w, http.StatusConflict, refused.Reason)
	default:
		answer(w, http.StatusBadGateway, err.Error())
	}
}

func answer(w http.ResponseWriter, status int, problem string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": problem}) // The page may have gone.
}

// events streams what happens.
func (p *Page) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	stream := http.NewResponseController(w)
	snapshot, page := p.hub.join()
	defer p.hub.leave(page)
	for _, message := range snapshot {
		if _, err := w.Write(message); err != nil {
			return
		}
	}
	if _, err := io.WriteString(w, "event: ready\ndata: {}\n\n"); err != nil || stream.Flush() != nil {
		return
	}
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		select {
		case message, open := <-page:
			if !open {
				return
			}
			if _, err := w.Write(message); err != nil {
				return
			}
		case <-ticker.C:
			if _, err := io.WriteString(w, "event: beat\ndata: {}\n\n"); err != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
		if stream.Flush() != nil {
			return
		}
	}
}
