package message

// Limits of one message. Beyond them Parse keeps going, but no longer looks
// closer: what remains is body.
const (
	// headerSizeMax bounds one header section in bytes. Beyond 1 MiB the sender
	// is not sending mail.
	headerSizeMax = 1 << 20

	// headerFieldsMax bounds the fields of one header section. Long relay chains
	// have hundreds; a million would only cost time at every later look.
	headerFieldsMax = 10_000

	// depthMax bounds the nesting of multiparts and messages, and so the
	// recursion here and in all who walk a Part.
	depthMax = 100

	// partsMax bounds the parts of a message, counting nested messages. Large
	// digests have hundreds.
	partsMax = 10_000

	// structureSizeMax bounds the memory for a Part in bytes, since a few bytes
	// of header, like "a,a,a", can become many in memory.
	structureSizeMax = 8 << 20

	// boundarySizeMax bounds a boundary in bytes; RFC 2046, section 5.1.1, allows
	// 70. A part with a longer one is not taken apart.
	boundarySizeMax = 8 << 10

	// addressesMax bounds the addresses taken from one header field.
	addressesMax = 10_000

	// paramsMax bounds the parameters taken from one header field, and the
	// sections of one parameter (RFC 2231).
	paramsMax = 1_000

	// languagesMax bounds the tags taken from one Content-Language field.
	languagesMax = 100
)

// Memory accounted against structureSizeMax, in bytes, rounded up.
const (
	partCost    = 448
	addressCost = 64
	paramCost   = 32
)
