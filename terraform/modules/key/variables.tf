variable "name" {
  description = "Name of the deployment; the alias of the key."
  type        = string
}
