package config

// WebHandler answers requests of one kind. Exactly one of the last four settings
// is set.
type WebHandler struct {
	LogName               string       `sconf:"optional" sconf-doc:"Name for logs and metrics."`
	Domain                string       `sconf-doc:"Name of the site."`
	PathRegexp            string       `sconf-doc:"Paths that match are answered; it must begin with ^. For example ^/ for all."`
	DontRedirectPlainHTTP bool         `sconf:"optional" sconf-doc:"Answer requests in plain text too. If false, they are sent on to HTTPS."`
	Compress              bool         `sconf:"optional" sconf-doc:"Compress what is text, for clients that can read it. It costs time of the processor."`
	WebStatic             *WebStatic   `sconf:"optional" sconf-doc:"Answer with files."`
	WebRedirect           *WebRedirect `sconf:"optional" sconf-doc:"Send visitors elsewhere."`
	WebForward            *WebForward  `sconf:"optional" sconf-doc:"Answer with what another server says."`
	WebInternal           *WebInternal `sconf:"optional" sconf-doc:"Answer with pages of our own."`
}

// WebStatic answers with files.
type WebStatic struct {
	StripPrefix      string            `sconf:"optional" sconf-doc:"What is cut off from the start of the path, with a slash at its start."`
	Root             string            `sconf-doc:"Directory with the files. A relative path is relative to the directory in which the program was started."`
	ListFiles        bool              `sconf:"optional" sconf-doc:"Show the files of directories without index.html."`
	ContinueNotFound bool              `sconf:"optional" sconf-doc:"For a file that doesn't exist, go on with the next handler."`
	ResponseHeaders  map[string]string `sconf:"optional" sconf-doc:"Header fields to add to answers."`
}

// WebRedirect sends visitors elsewhere.
type WebRedirect struct {
	BaseURL        string `sconf:"optional" sconf-doc:"Where to, without path. If absent, the same site."`
	OrigPathRegexp string `sconf:"optional" sconf-doc:"What the path must match to be replaced. If it doesn't, the next handler is tried."`
	ReplacePath    string `sconf:"optional" sconf-doc:"Path in its place, with $1 for what was in the first group of OrigPathRegexp. Both or none of the two are set."`
	StatusCode     int64  `sconf:"optional" sconf-doc:"From 300 to 399. If zero, 308."`
}

// WebForward answers with what another server says.
type WebForward struct {
	StripPath       bool              `sconf:"optional" sconf-doc:"Leave out what PathRegexp matched from the path."`
	URL             string            `sconf-doc:"Server to ask, for example http://localhost:8080/. The path is added to its own."`
	ResponseHeaders map[string]string `sconf:"optional" sconf-doc:"Header fields to add to answers."`
}

// WebInternal answers with pages of our own.
type WebInternal struct {
	BasePath string `sconf-doc:"Where the pages are, with a slash at the start and at the end."`
	Service  string `sconf-doc:"admin, account, webmail or webapi."`
}
