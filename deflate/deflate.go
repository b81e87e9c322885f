// Package deflate compresses and decompresses what two peers send each other in a
// protocol of commands and answers, as raw DEFLATE (RFC 1951): for COMPRESS of IMAP
// (RFC 4978).
//
// It is for connections that are many and mostly idle, and for peers that wait for
// each other. So an Inflater gives out all that can be known from the bytes it has,
// however its peer flushes, and reads no byte beyond those; a Deflater ends each
// piece so that the peer can do the same. Neither holds more of an idle connection
// than a history. It knows no connections, deadlines or goroutines.
package deflate

import (
	"compress/flate"
	"sync"
)

const (
	// PieceMax is the size in bytes of the pieces that Deflater.Append is best called
	// with: what a Compressors buffer has room for when it is compressed.
	PieceMax = 64 << 10

	// bufferSize is what a piece of PieceMax can become in bytes: RFC 1951 needs five
	// more for each 64 KiB that can't be compressed, and package flate may take
	// smaller blocks.
	bufferSize = PieceMax + 1<<10

	// historySize is how much of what was sent before a small piece can refer to, in
	// bytes. A few answers are enough to find the words of the next one: 2 KiB make
	// answers of one line 3.5 times smaller, and 16 KiB don't do better.
	historySize = 2 << 10

	// smallMax is the size in bytes up to which a piece is compressed with the
	// history, which costs as much as 10 KiB of it. Longer ones find enough in
	// themselves.
	smallMax = 4 << 10

	// smallLevel is the lowest level of package flate that looks at its history.
	smallLevel = 2

	// largeLevel is the level that is faster than most networks.
	largeLevel = flate.BestSpeed
)

// Compressors is a pool of what Deflaters need while they compress, nearly 1 MiB
// each: they hold it only while they compute. The zero value is ready to use.
type Compressors struct{ small, large, buffers sync.Pool }

// compressor is a flate.Writer with what it wrote.
type compressor struct {
	w    *flate.Writer
	out  []byte
	mute bool // What is written is dropped.
}

func (c *compressor) Write(p []byte) (int, error) {
	if !c.mute {
		c.out = append(c.out, p...)
	}
	return len(p), nil
}

func getCompressor(pool *sync.Pool, level int) *compressor {
	if c, ok := pool.Get().(*compressor); ok {
		c.w.Reset(c)
		return c
	}
	c := &compressor{}
	c.w, _ = flate.NewWriter(c, level) // Fails only for a level that there is not.
	return c
}

// Buffer returns a buffer without content for a compressed piece, for PutBuffer.
func (p *Compressors) Buffer() *[]byte {
	if b, ok := p.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, bufferSize)
	return &b
}

// PutBuffer gives a buffer back.
func (p *Compressors) PutBuffer(b *[]byte) {
	if cap(*b) == bufferSize {
		*b = (*b)[:0]
		p.buffers.Put(b)
	}
}

// Deflater compresses one stream. It is used by one goroutine at a time.
type Deflater struct {
	pool    *Compressors
	history []byte // The last that was sent, at most historySize.
}

// NewDeflater returns a Deflater for a new stream.
func NewDeflater(pool *Compressors) *Deflater { return &Deflater{pool: pool} }

// Append appends p to dst, compressed, and so that the peer can decompress all of it
// at once: it ends with an empty stored block, like those of zlib's Z_SYNC_FLUSH.
//
// Each piece is compressed by a compressor that knows only the history: whatever
// came before, its blocks begin at a byte and refer to nothing older, so the stream
// stays one that any decompressor can read. To have the history a compressor is given
// it first, and what comes of that is not sent.
func (d *Deflater) Append(dst, p []byte) []byte {
	if len(p) == 0 {
		return dst
	}
	pool, level := &d.pool.large, largeLevel
	small := len(p) <= smallMax
	if small {
		pool, level = &d.pool.small, smallLevel
	}
	c := getCompressor(pool, level)
	if small && len(d.history) > 0 {
		c.mute = true
		c.write(d.history)
		c.mute = false
	}
	c.out = dst
	c.write(p)
	dst, c.out = c.out, nil
	pool.Put(c)
	d.remember(p)
	return dst
}

// write compresses all of p. It can't fail, as Write does not.
func (c *compressor) write(p []byte) {
	_, _ = c.w.Write(p)
	_ = c.w.Flush()
}

// remember keeps the end of what was sent.
func (d *Deflater) remember(p []byte) {
	p = p[max(0, len(p)-historySize):]
	keep := min(len(d.history), historySize-len(p))
	if d.history == nil {
		d.history = make([]byte, 0, historySize)
	}
	copy(d.history, d.history[len(d.history)-keep:])
	d.history = append(d.history[:keep], p...)
}
