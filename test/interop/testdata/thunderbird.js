// What the test has Thunderbird do. It runs in its main window, with all rights:
// each function is what a person does there.

const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs")

const account = () => MailServices.accounts.defaultAccount
const pane = () => document.getElementById("tabmail").currentAbout3Pane
const folders = () => account().incomingServer.rootFolder.descendants
const folder = name => folders().find(f => f.URI.endsWith("/" + name))

// until waits until fn returns something that is true, and returns it.
const until = async (what, fn) => {
	let last
	for (let i = 0; i < 250; i++) {
		try {
			const v = await fn()
			if (v) {
				return v
			}
		} catch (err) {
			last = err
		}
		await new Promise(resolve => setTimeout(resolve, 100))
	}
	throw new Error("waited in vain for " + what + (last ? ": " + last : ""))
}

// trust makes the certificate of a server good, as somebody does who looks at it.
const trust = (host, port, base64) => {
	const db = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB)
	const overrides = Cc["@mozilla.org/security/certoverride;1"].getService(Ci.nsICertOverrideService)
	overrides.rememberValidityOverride(host, port, {}, db.constructX509FromBase64(base64), true)
}

// setUp makes an account, with TLS from the start.
const setUp = async (host, imapPort, smtpPort, user, password, cert) => {
	trust(host, imapPort, cert)
	trust(host, smtpPort, cert)
	const secured = { socketType: Ci.nsMsgSocketType.SSL, authMethod: Ci.nsMsgAuthMethod.passwordCleartext, password }
	const incoming = MailServices.accounts.createIncomingServer(user, host, "imap")
	Object.assign(incoming, { port: imapPort, prettyName: "Ours" }, secured)
	const identity = MailServices.accounts.createIdentity()
	Object.assign(identity, { fullName: "Thunder Bird", email: user })
	const outgoing = MailServices.outgoingServer.createServer("smtp")
	outgoing.QueryInterface(Ci.nsISmtpServer)
	Object.assign(outgoing, { hostname: host, port: smtpPort, username: user }, secured)
	identity.smtpServerKey = outgoing.key
	MailServices.outgoingServer.defaultServer = outgoing
	const made = MailServices.accounts.createAccount()
	made.addIdentity(identity)
	made.incomingServer = incoming
	MailServices.accounts.defaultAccount = made
}

// open shows a folder, fetches what is new, and waits until it has n messages.
const open = async (name, n) => {
	await until("folder " + name, () => folder(name))
	pane().displayFolder(folder(name).URI)
	folder(name).getNewMessages(null, null)
	await until(n + " messages in " + name, () => pane().gFolder == folder(name) && pane().threadTree.view.rowCount == n)
}

// mailboxes waits until it shows all these mailboxes.
const mailboxes = names => until("mailboxes " + names, () => {
	const shown = folders().map(f => f.URI.split("/").slice(3).join("/"))
	return names.every(name => shown.includes(name))
})

// select selects the message with a subject, and waits until its text is shown.
const select = async (subject, text) => {
	await until("message " + subject, () => {
		const view = pane().gDBView
		for (let i = 0; i < view.rowCount; i++) {
			if (view.getMsgHdrAt(i).mime2DecodedSubject == subject) {
				pane().threadTree.selectedIndex = i
				return true
			}
		}
		return false
	})
	return await until("the text of " + subject, () => {
		const shown = pane().messageBrowser.contentWindow.getMessagePaneBrowser().contentDocument.body.textContent
		return shown.includes(text) && shown
	})
}

// move moves the selected message, remove deletes it.
const move = name => gone(() => pane().commandController.doCommand("cmd_moveMessage", folder(name)))
const remove = () => gone(() => pane().commandController.doCommand("cmd_delete"))
const gone = async action => {
	const n = pane().threadTree.view.rowCount
	action()
	await until("a message to go", () => pane().threadTree.view.rowCount == n - 1)
}

// flag marks the selected message with a star, and with a tag.
const flag = async () => {
	const message = pane().gDBView.hdrForFirstSelectedMessage
	pane().commandController.doCommand("cmd_markAsFlagged")
	message.folder.addKeywordsToMessages([message], "$label1")
	await until("the star", () => message.isFlagged)
}

// search asks the server for messages whose text has some words.
const search = async (name, words) => {
	const session = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(Ci.nsIMsgSearchSession)
	session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, folder(name))
	const term = session.createTerm()
	term.attrib = Ci.nsMsgSearchAttrib.Body
	term.op = Ci.nsMsgSearchOp.Contains
	const value = term.value
	value.attrib = term.attrib
	value.str = words
	term.value = value
	session.appendTerm(term)
	const found = []
	await new Promise(resolve => {
		session.registerListener({
			QueryInterface: ChromeUtils.generateQI(["nsIMsgSearchNotify"]),
			onSearchHit: message => found.push(message.mime2DecodedSubject),
			onSearchDone: resolve,
			onNewSearch() { },
		}, Ci.nsIMsgSearchSession.allNotifications)
		session.search(null)
	})
	return found.sort()
}

// send writes a message in a window of its own, and sends it.
const send = async (to, subject, body) => {
	const fields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields)
	Object.assign(fields, { to, subject, body })
	const params = Cc["@mozilla.org/messengercompose/composeparams;1"].createInstance(Ci.nsIMsgComposeParams)
	Object.assign(params, { composeFields: fields, format: Ci.nsIMsgCompFormat.PlainText, identity: account().defaultIdentity })
	MailServices.compose.OpenComposeWindowWithParams(null, params)
	const find = () => Services.wm.getMostRecentWindow("msgcompose")
	const written = await until("the window to write in", () => {
		const w = find()
		return w && w.document.title.includes(subject) && w.GetCurrentEditor().outputToString("text/plain", 0).includes(body.trim()) && w
	})
	written.goDoCommand("cmd_sendNow")
	await until("the message to be sent", () => !find())
}
