package templates

// Parse is parse.
var Parse = parse
