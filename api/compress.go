package api

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"
)

// compressFrom is the size of a body, in bytes, from which compressing it pays.
const compressFrom = 1 << 10

var zippers = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // it fails for unknown levels only
	return w
}}

// withheld holds an answer back until it is whole: only then is the size known of one that may be
// compressed. Which operations compress is in the document: none whose answer may hold a secret,
// since the length of a compressed answer tells something of what is in it.
type withheld struct {
	gin.ResponseWriter
	body   bytes.Buffer
	packed []byte // the whole body, where it was compressed before
}

// compressing lets the answer of a call be compressed where its client takes that.
func compressing(c *gin.Context) {
	c.Writer.Header().Add("Vary", "Accept-Encoding")
	if acceptsGzip(c.Request.Header.Values("Accept-Encoding")) {
		c.Writer = &withheld{ResponseWriter: c.Writer}
	}
}

// discard takes back what a call was about to answer.
func discard(c *gin.Context) {
	if w, is := c.Writer.(*withheld); is {
		c.Writer = w.ResponseWriter
	}
}

// send sends what a withheld holds.
func send(c *gin.Context) {
	w, is := c.Writer.(*withheld)
	if !is {
		return
	}
	c.Writer = w.ResponseWriter
	if w.packed != nil {
		c.Header("Content-Encoding", "gzip")
		_, _ = c.Writer.Write(w.packed) // the client is gone if it fails
		return
	}
	if w.body.Len() < compressFrom || w.Status() != http.StatusOK {
		_, _ = c.Writer.Write(w.body.Bytes()) // the client is gone if it fails
		return
	}
	c.Writer.Header().Del("Content-Length") // of the body as it was
	c.Header("Content-Encoding", "gzip")
	zipper, _ := zippers.Get().(*gzip.Writer)
	defer zippers.Put(zipper)
	zipper.Reset(c.Writer)
	_, _ = zipper.Write(w.body.Bytes())
	_ = zipper.Close()
}

// Write implements io.Writer.
func (w *withheld) Write(b []byte) (int, error) { return w.body.Write(b) }

// WriteString implements io.StringWriter.
func (w *withheld) WriteString(text string) (int, error) { return w.body.WriteString(text) }

// WriteHeaderNow implements gin.ResponseWriter. The header goes with the body.
func (w *withheld) WriteHeaderNow() {}

// Written implements gin.ResponseWriter.
func (w *withheld) Written() bool {
	return w.body.Len() > 0 || w.packed != nil || w.ResponseWriter.Written()
}

// acceptsGzip reads Accept-Encoding (RFC 9110, 12.5.3). A coding of weight 0 is not accepted.
func acceptsGzip(lines []string) bool {
	for item := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		coding, parameter, _ := strings.Cut(item, ";")
		if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			continue
		}
		name, weight, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		q, err := strconv.ParseFloat(strings.TrimSpace(weight), 64)
		return !strings.EqualFold(name, "q") || err == nil && q > 0
	}
	return false
}
