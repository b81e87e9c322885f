package receive

import "io"

// ReaderAt returns a reader of the message for others than a Receiver, valid
// until the next Write or Close.
func (s *Spool) ReaderAt() io.ReaderAt { return s.readerAt() }
