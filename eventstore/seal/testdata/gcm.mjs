// The sealed format as Node's own crypto sees it. Reads one JSON request a line, answers one JSON line each:
// AES-256-GCM, laid out as IV ‖ tag ‖ ciphertext, base64url without padding.
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { createInterface } from 'node:readline'

const ivSize = 12, tagSize = 16

function seal(key, plain, associated, iv = randomBytes(ivSize)) {
  const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: tagSize })
  if (associated) cipher.setAAD(associated)
  const body = Buffer.concat([cipher.update(plain), cipher.final()])
  return Buffer.concat([iv, cipher.getAuthTag(), body]).toString('base64url')
}

function open(key, sealed, associated) {
  const raw = Buffer.from(sealed, 'base64url')
  const decipher = createDecipheriv('aes-256-gcm', key, raw.subarray(0, ivSize), { authTagLength: tagSize })
  if (associated) decipher.setAAD(associated)
  decipher.setAuthTag(raw.subarray(ivSize, ivSize + tagSize))
  return Buffer.concat([decipher.update(raw.subarray(ivSize + tagSize)), decipher.final()])
}

// pae is PASETO's pre-authentication encoding.
function pae(...pieces) {
  const number = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(n)); return b }
  return Buffer.concat([number(pieces.length), ...pieces.flatMap((p) => [number(Buffer.byteLength(p)), Buffer.from(p)])])
}

// envelope opens a whole stored secret with the text of the master key.
function envelope(master, s) {
  const wrap = Buffer.from(hkdfSync('sha256', Buffer.from(master, 'base64'), Buffer.alloc(0), 'agentkey.master.wrap.v1', 32))
  const associated = (use) => pae(s.format, use, s.organization_id, s.purpose, s.owner, s.secret_id)
  const data = open(wrap, s.wrapping.key, associated('wrapping/' + s.wrapping.master_key_id))
  return open(data, s.sealed, associated('secret'))
}

const bytes = (text) => (text === undefined ? undefined : Buffer.from(text, 'base64'))
for await (const line of createInterface({ input: process.stdin })) {
  const q = JSON.parse(line)
  let answer
  try {
    switch (q.do) {
      case 'seal': answer = { sealed: seal(bytes(q.key), bytes(q.plain), bytes(q.associated), bytes(q.iv)) }; break
      case 'open': answer = { plain: open(bytes(q.key), q.sealed, bytes(q.associated)).toString('base64') }; break
      case 'envelope': answer = { plain: envelope(q.master, q.secret).toString('base64') }; break
    }
  } catch (e) {
    answer = { error: String(e) }
  }
  console.log(JSON.stringify(answer))
}
