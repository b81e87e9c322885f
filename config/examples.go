package config

import "strings"

// Example is a part of a file, for copying.
type Example struct {
	Name  string
	About string // One line.
	File  string // StaticName or DynamicName.
	Text  string // With comments.
}

// laterNote stands at the top of examples for what isn't built yet.
const laterNote = "# Not supported by this version yet: it is checked, and then refused.\n"

// Examples returns all examples, sorted by name.
func Examples() []Example {
	list := []Example{
		{"transport", "Sending mail through another server, with a route for it", StaticName + " and " + DynamicName, transportExample},
		{"webhandlers", "A web server: files, redirects, forwarding, pages of our own", DynamicName, webHandlersExample},
	}
	for i, e := range list {
		list[i].Text = strings.TrimPrefix(e.Text, "\n")
		if e.Name == "webhandlers" {
			list[i].Text = laterNote + list[i].Text
		}
	}
	return list
}

// transportExample is for both files: what is before the line with domains.conf is
// for mox.conf.
const transportExample = `
# In mox.conf:

Transports:

	# The name is for the routes below.
	relay:

		# Over TLS. Submission would be with STARTTLS, SMTP from server to server.
		Submissions:
			Host: smtp.example.com
			Auth:
				Username: user@example.com
				Password: a long password

				# If absent, the best that the server offers, but never PLAIN.
				Mechanisms:
					- SCRAM-SHA-256-PLUS
					- SCRAM-SHA-256

	# Through a proxy, so that mail comes from another address.
	proxy:
		Socks:
			Address: localhost:1080
			RemoteIPs:
				- 192.0.2.9
			RemoteHostname: proxy.example.org

# In domains.conf. Accounts and domains can have Routes of their own, which come first.

Routes:
	-
		# A dot in front: this domain and all below it.
		ToDomain:
			- .example.com
		Transport: proxy
	-
		# All other mail, after it has failed twice.
		MinimumAttempts: 2
		Transport: relay
`

const webHandlersExample = `
# In domains.conf. In mox.conf a listener needs WebserverHTTP or WebserverHTTPS.

# Visitors of the first are sent to the second.
WebDomainRedirects:
	www.example.org: example.org

# The first that matches answers.
WebHandlers:
	-
		# For logs and metrics.
		LogName: files
		Domain: example.org
		PathRegexp: ^/static/
		Compress: true
		WebStatic:
			# /static/a.css is web/a.css.
			StripPrefix: /static/
			Root: web
			ListFiles: true
			ResponseHeaders:
				Cache-Control: max-age=3600
	-
		Domain: example.org
		PathRegexp: ^/old/
		WebRedirect:
			OrigPathRegexp: ^/old/(.*)
			ReplacePath: /new/$1
			StatusCode: 301
	-
		LogName: app
		Domain: app.example.org
		PathRegexp: ^/
		WebForward:
			URL: http://127.0.0.1:8888/
	-
		Domain: example.org
		PathRegexp: ^/webmail/
		WebInternal:
			BasePath: /webmail/
			Service: webmail
`
